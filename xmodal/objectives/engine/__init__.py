"""The sums every loss is made of, streamed: logsumexp, softplus, whole stores as keys."""
