"""Retrieval in both directions."""
