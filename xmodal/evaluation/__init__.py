"""Evaluators: a trained encoder in, a report out."""
