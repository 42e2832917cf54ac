"""One measured number with what is needed to judge it, and the way any value goes into JSON.

Input: numbers as numpy or Python gives them. Output: `Record`, and values `json.dumps(..., allow_nan=False)` takes.
"""

import math
import numbers
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


def finite(value: Any) -> float | None:
    """The number, a count as an int and all else as a float; None where it is missing, NaN or infinite."""
    if value is None:
        return None
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else None


@dataclass(frozen=True)
class Record:
    """A metric's value on one data set, its 95% interval [low, high], the items behind it and the chance level.

    `context` says under which conditions it holds: the candidate labels (`candidates`), whether the classes were seen
    in training, how many example sentences. NaN and infinity become None. A whole number given as an int is a count.

    Example:
        Record("heldout", "accuracy_mean", 0.83, 0.79, 0.86, n=412, chance=1 / 36, context={"candidates": names})
    """

    dataset: str
    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    chance: float | None = None
    context: dict[str, Any] = field(default_factory=dict)  # str, int, float, bool, or lists of them

    def __post_init__(self) -> None:
        for name in ("value", "low", "high", "chance"):
            number = finite(getattr(self, name))
            if isinstance(self.value, int) and isinstance(number, float) and number.is_integer():
                number = int(number)  # the limits of a count
            object.__setattr__(self, name, number)
        object.__setattr__(self, "n", int(self.n))
        object.__setattr__(self, "context", json_ready(self.context))

    @property
    def name(self) -> str:
        """The full name, DATASET/METRIC, as `train.best` writes it."""
        return f"{self.dataset}/{self.metric}"

    def as_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)


def json_ready(value: Any) -> Any:
    """`value` out of plain JSON types only.

    Mappings get string keys, tuples, sets and arrays become lists, numpy scalars Python numbers, NaN and infinity
    null, and everything else (paths, versions, dates) its text.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, Mapping):
        return {str(k): json_ready(v) for k, v in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((json_ready(v) for v in value), key=str)
    if isinstance(value, list | tuple):
        return [json_ready(v) for v in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays, tensors
        return json_ready(value.tolist())
    return str(value)
