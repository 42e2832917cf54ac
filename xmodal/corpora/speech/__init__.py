"""Speech, and sentences to be spoken."""
