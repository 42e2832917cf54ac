"""MetAug: features augmented by a generator that is learned, and the unified loss over them."""
