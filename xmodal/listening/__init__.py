"""Speech as it comes, cut where people pause, and what is meant by each piece."""
