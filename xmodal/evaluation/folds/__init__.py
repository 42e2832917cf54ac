"""Classification by folds: every item tested once, by what the other folds teach or by prompts alone."""
