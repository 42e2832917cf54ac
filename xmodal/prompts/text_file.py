"""Text files with one thing a line, as people write them: UTF-8, with or without a byte-order mark."""

import re
from pathlib import Path


def read_text(path: Path) -> str:
    r"""The text of a UTF-8 file, line ends as they are.

    Raises:
        OSError, UnicodeDecodeError: it cannot be read.
    """
    return path.read_bytes().decode("utf-8-sig")


def lines_of(text: str) -> list[str]:
    r"""The lines of a text; a line ends at \n, \r\n or \r and nowhere else.

    `str.splitlines` also breaks at U+2028, U+0085, form feeds and others, which occur inside captions and names: one
    line would become two, and every later class number would get the wrong name.

    Example:
        lines_of("red\ngreen\u2028ish\n")  # ["red", "green\u2028ish"]
    """
    lines = re.split(r"\r\n|\n|\r", text)
    return lines[:-1] if lines[-1] == "" else lines


def is_unicode(text: str) -> bool:
    r"""Can this text be encoded? Half a surrogate pair, as JSON's "\ud83d", cannot, and no tokenizer takes it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
