"""The terms of a run's loss: what must agree between them and the rest of its config."""
