"""Commands that train: one run, the demo, a sweep of runs."""
