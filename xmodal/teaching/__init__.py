"""From a file of phrases to a run that understands people who say such things."""
