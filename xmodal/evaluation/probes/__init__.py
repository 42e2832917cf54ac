"""Linear probes, neighbours, and the geometry of embeddings."""
