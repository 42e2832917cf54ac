"""Choosing a kernel before training: statistics of the candidates' targets, short runs, and a rule."""
