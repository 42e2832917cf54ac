"""Commands that make or check data, before anything trains."""
