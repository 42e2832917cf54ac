"""A number that may change over training: itself, or `{schedule: cosine, from: 10, to: 0}`.

A field of a spec says so with its range: `weight: Annotated[Number, Scheduled(ge=0)] = 1.0`.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, Protocol, Self

from pydantic import Field, GetCoreSchemaHandler, TypeAdapter, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, PydanticKnownError, core_schema

from xmodal.config.spec import Spec


class Progress(Protocol):
    """What a schedule needs of a clock: how much of training is done, 0 at the first step and 1 at the last."""

    @property
    def progress(self) -> float:
        """Between 0 and 1."""


class Schedule(Spec):
    """From `from` to `to`, reached at the share `until` of training and held from there.

    linear; cosine (half a cosine wave, slow at both ends); exponential (by the same factor at every step); warmup:
    linear from 0, or `from`, over the first tenth; constant: `from`.
    """

    schedule: Literal["constant", "linear", "cosine", "exponential", "warmup"]
    start: float = Field(0.0, alias="from")
    to: float | None = None  # constant: left out
    until: float = Field(1.0, gt=0, le=1)  # share of the steps; warmup: 0.1

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("schedule") == "warmup":
            return {"until": 0.1, **values}
        return values

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if (self.to is None) != (self.schedule == "constant"):
            wrong = "constant goes without `to`" if self.to is not None else f"{self.schedule} needs `to`"
            raise ValueError(f"schedule: {wrong}: give one number, or {{schedule: linear, from: 0, to: 1}}")
        if self.schedule == "exponential" and not min(self.start, self.to or 0.0) > 0:
            raise ValueError(
                f"schedule: exponential is between numbers above 0, not from {self.start:g} to {self.to:g}; use cosine"
            )
        return self

    def at(self, progress: float) -> float:
        """The value where `progress` (0 to 1) of training is done."""
        if self.to is None:
            return self.start
        done = min(1.0, progress / self.until)
        if self.schedule == "exponential":
            return self.start ** (1 - done) * self.to**done
        if self.schedule == "cosine":
            done = (1 - math.cos(math.pi * done)) / 2
        return self.start + (self.to - self.start) * done


Number = float | Schedule


def value_at(number: Number, clock: Progress) -> float:
    """A number, or what its schedule says at this moment.

    Example:
        value_at(Schedule(schedule="linear", start=0, to=1), Clock(step=50, steps=101))  # 0.5
    """
    return number.at(clock.progress) if isinstance(number, Schedule) else number


class Scheduled:
    """The range of a number that may follow a schedule; both ends of a schedule must lie in it."""

    def __init__(
        self, gt: float | None = None, ge: float | None = None, lt: float | None = None, le: float | None = None
    ) -> None:
        self.limits = {
            "greater_than": (gt, "gt", lambda x: x > gt, "greater than"),
            "greater_than_equal": (ge, "ge", lambda x: x >= ge, "at least"),
            "less_than": (lt, "lt", lambda x: x < lt, "less than"),
            "less_than_equal": (le, "le", lambda x: x <= le, "at most"),
        }

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._read,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda value, info: value.model_dump(mode=info.mode) if isinstance(value, Schedule) else value,
                info_arg=True,
            ),
        )

    def _read(self, value: Any) -> Number:
        if isinstance(value, Mapping):
            value = Schedule.model_validate(dict(value))
        if isinstance(value, Schedule):
            for name, end in (("from", value.start), ("to", value.to)):
                for limit, _, holds, words in self.limits.values():
                    if limit is not None and end is not None and not holds(end):
                        message = f"{name}: {end:g} must be {words} {limit:g}, as every value of the schedule"
                        raise PydanticCustomError("out_of_range", "{message}", {"message": message})
            return value
        number: float = _NUMBER.validate_python(value)
        for error, (limit, key, holds, _) in self.limits.items():
            if limit is not None and not holds(number):
                raise PydanticKnownError(error, {key: limit})  # type: ignore[arg-type]
        return number

    @staticmethod
    def type_of(raw: Any) -> Any:
        """The type by which `raw` was read, for error lines."""
        return Schedule if isinstance(raw, Mapping) else float


_NUMBER = TypeAdapter(float, config={"allow_inf_nan": False})
