"""Runs on the Hugging Face hub: sent with a model card by `xmodal push`, read by `xmodal.load("hf-hub:OWNER/NAME")`."""
