"""What a report says at first sight: its answer in sentences, its numbers by family, how they were measured."""
