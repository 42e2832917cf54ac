"""Matrices too large to hold, taken a block of rows at a time."""

from collections.abc import Iterator

BLOCK = 2**22  # elements at a time: 16 MB in fp32


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of the rows of [rows, columns], each of at most BLOCK elements (one row at least).

    Example:
        [z[at] @ keys.T for at in row_blocks(len(z), len(keys))]
    """
    step = max(1, BLOCK // max(columns, 1))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
