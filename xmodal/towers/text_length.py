"""Whether a text is cut: found out without counting its tokens wherever its letters show that it is short."""

SPECIAL_TOKENS = 8  # that a tokenizer adds to a text, at most
EXPANSION = 12  # what Unicode's normal forms may make of one byte beyond ASCII, at most


def surely_fits(text: str, most: int) -> bool:
    """Is this text, by its letters alone, no more than `most` tokens? No tokenizer makes more tokens than bytes."""
    size = len(text) if text.isascii() else EXPANSION * len(text.encode("utf-8", "replace"))
    return size + SPECIAL_TOKENS <= most


def cut_of(found: int, most: int, what: str = "tokens") -> str | None:
    """The reason as `Processor.cut` gives it; None where nothing is cut."""
    return f"text of {found:,} {what} cut to {most:,}" if found > most else None
