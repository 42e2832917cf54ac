"""Sounds with a label or captions, and folders of any recordings."""
