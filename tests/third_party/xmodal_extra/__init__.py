"""Somebody else's objective, tower and evaluator."""
