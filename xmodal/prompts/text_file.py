"""Text as people write it into files: UTF-8, with or without a byte-order mark."""

from pathlib import Path


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, line ends as they are.

    Raises:
        OSError, UnicodeDecodeError: it cannot be read.
    """
    return path.read_bytes().decode("utf-8-sig")


def is_unicode(text: str) -> bool:
    r"""Can this text be encoded? Half a surrogate pair, as JSON's "\ud83d", cannot, and no tokenizer takes it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
