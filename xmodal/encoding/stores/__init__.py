"""Stores: made once from a locked tower, and asked before anything is encoded again."""
