"""Training views: changed versions of an item, drawn from a generator."""
