"""Numbers and other values as a reader sees them in a table or a sentence; a missing one is a dash."""

import math
from typing import Any

import numpy as np
import pandas as pd

from xmodal.report.record import Record

DASH = "–"
LONG_LIST = 8  # entries; a longer list starts with how many it has


def number(value: float | None) -> str:
    """Three decimals, of a smaller number one digit, of a count none; or a dash."""
    if value is None or not math.isfinite(value):
        return DASH
    if isinstance(value, int):
        return f"{value:,}"
    if 0 < abs(value) < 0.0005:  # a chance among thousands is not 0
        return f"{value:.1g}"
    return f"{value:,.3f}" if abs(value) < 1000 else f"{value:,.0f}"


def cell(value: Any) -> str:
    """A table cell: numbers by `number`, truth as yes and no, nothing as a dash."""
    if value is None or value is pd.NaT or value is pd.NA:
        return DASH
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating):
        return number(float(value))
    if isinstance(value, list | tuple):
        count = f"{len(value)}: " if len(value) > LONG_LIST else ""
        return count + ", ".join(cell(v) for v in value)
    return str(value)


def interval(record: Record) -> str:
    """`[low, high]`, or nothing where there is none."""
    return limits(record.low, record.high)


def limits(low: float | None, high: float | None) -> str:
    """`[low, high]`, or nothing where one of them is missing or NaN.

    Example:
        limits(0.1, 0.25)  # "[0.100, 0.250]"
    """
    missing = low is None or high is None or math.isnan(low) or math.isnan(high)
    return "" if missing else f"[{number(low)}, {number(high)}]"


def spanned(value: float | None, low: float | None, high: float | None) -> str:
    """A value and its interval, as `0.500 [0.400, 0.600]`.

    Example:
        spanned(0.5, 0.4, 0.6)  # "0.500 [0.400, 0.600]"
    """
    return f"{number(value)} {limits(low, high)}".rstrip()


def numeric(table: pd.DataFrame, column: Any) -> bool:
    """Does a column hold numbers, which stand to the right?"""
    return bool(pd.api.types.is_numeric_dtype(table[column]) and not pd.api.types.is_bool_dtype(table[column]))
