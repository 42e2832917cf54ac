"""What brackets a number, in one table: speech, cascade, oracle, majority and chance."""

from collections.abc import Mapping, Sequence

import pandas as pd

from xmodal.report.record import Record


def side_by_side(records: Sequence[Record], rows: Mapping[str, str]) -> pd.DataFrame:
    """One line per row, and one of chance: columns input, accuracy, low, high, n.

    Args:
        records: of one data set.
        rows: what stands in front of a line -> the metric's name.

    Example:
        side_by_side(report.records, {"speech": "accuracy_prompt", "true text": "oracle_prompt"})
    """
    of = {record.metric: record for record in records}
    lines: list[tuple[str, float | None, float | None, float | None, int]] = [
        (row, of[metric].value, of[metric].low, of[metric].high, of[metric].n) for row, metric in rows.items()
    ]
    first = of[next(iter(rows.values()))]
    lines.append(("chance", first.chance, None, None, first.n))
    return pd.DataFrame(lines, columns=["input", "accuracy", "low", "high", "n"])
