"""Commands that bring a run to other libraries and other people's benchmarks."""
