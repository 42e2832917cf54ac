"""A run's report, and runs compared."""
