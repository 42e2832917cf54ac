"""Commands of speech alone."""
