"""Towers behind `encode`: loading, embedding, stores, embeddings that are kept."""
