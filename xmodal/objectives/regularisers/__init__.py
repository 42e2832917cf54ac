"""Regularisers: what the embeddings of a batch, or their similarities, should look like as a whole."""
