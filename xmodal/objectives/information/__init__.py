"""Mutual information between two sides, maximised through a lower bound that a critic makes."""
