"""Metrics, ranks and their intervals."""
