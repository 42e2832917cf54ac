"""The cascade beside speech: a recogniser's transcripts through the text tower, with the same class vectors."""
