"""Batches with hard negatives: pairs beside others that the guide side finds alike."""
