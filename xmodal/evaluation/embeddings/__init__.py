"""Embeddings for other programs: export and search."""
