"""What is tested on: labelled items, classes, pairs."""
