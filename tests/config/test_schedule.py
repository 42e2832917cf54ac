"""Schedules: their values by hand, their limits, and that a number stays a number."""

from typing import Annotated

import pytest
from pydantic import ValidationError

from xmodal.batch import Clock
from xmodal.config.schedule import Number, Schedule, Scheduled, value_at
from xmodal.config.spec import Spec


class Thing(Spec):
    share: Annotated[Number, Scheduled(ge=0, le=1)] = 0.5


@pytest.mark.parametrize(
    ("given", "values"),
    [
        (0.25, [0.25] * 5),
        ({"schedule": "constant", "from": 0.3}, [0.3] * 5),
        ({"schedule": "linear", "from": 0, "to": 1}, [0, 0.25, 0.5, 0.75, 1]),
        ({"schedule": "linear", "from": 1, "to": 0, "until": 0.5}, [1, 0.5, 0, 0, 0]),
        ({"schedule": "cosine", "from": 1, "to": 0}, [1, 0.8535534, 0.5, 0.1464466, 0]),
        ({"schedule": "warmup", "to": 0.4, "until": 0.5}, [0, 0.2, 0.4, 0.4, 0.4]),
    ],
)
def test_values(given, values):
    number = Thing(share=given).share
    assert [value_at(number, Clock(step, 5)) for step in range(5)] == pytest.approx(values)


def test_a_schedule_is_written_as_it_was_given():
    given = {"schedule": "cosine", "from": 1.0, "to": 0.0, "until": 1.0}
    assert Thing(share=given).model_dump(mode="json") == {"share": given}
    assert Thing.model_validate(Thing(share=given).model_dump()) == Thing(share=given)
    assert Thing().model_dump(mode="json") == {"share": 0.5}
    assert value_at(Schedule(schedule="warmup", to=1), Clock(0, 10)) == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (1.5, "less than or equal to 1"),
        ({"schedule": "linear", "from": 0, "to": 1.5}, "to: 1.5 must be at most 1"),
        ({"schedule": "linear", "from": -1, "to": 1}, "from: -1 must be at least 0"),
        ({"schedule": "linear", "from": 0}, "linear needs `to`"),
        ({"schedule": "constant", "from": 0, "to": 1}, "constant goes without `to`"),
        ({"schedule": "step", "from": 0, "to": 1}, "'constant', 'linear', 'cosine', 'exponential' or 'warmup'"),
        ({"schedule": "linear", "from": 0, "to": 1, "until": 0}, "greater than 0"),
        (float("nan"), "finite"),
    ],
)
def test_what_cannot_be(given, message):
    with pytest.raises(ValidationError, match=message):
        Thing(share=given)
