"""Text, speech, image and dual encoders of `transformers`. Imported only where a config names one."""
