"""Softmax losses: each anchor tells its own from all others, with one-hot or soft targets."""
