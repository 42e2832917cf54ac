"""Keyword spotting: words by name, anything else, and silence."""
