"""Losses that ask of every pair by itself whether it belongs together."""
