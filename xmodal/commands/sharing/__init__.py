"""Commands that give a run to others: to people in a page, to the hub, to other libraries and benchmarks."""
