"""Which objective? The same data, seeds and seconds for each; settings chosen on dev, the test reported once."""
