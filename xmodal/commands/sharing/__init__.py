"""Commands that hand a run to others: to people in a page."""
