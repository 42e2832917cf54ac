"""A run that is killed when it has saved once."""

from dataclasses import fields

import pytest

from xmodal.runs.checkpoint import State
from xmodal.training.saving import Saving
from xmodal.training.trainer import Trainer


class KillError(Exception):
    """Stands for a kill."""


class _Dying(Saving):
    def save(self, state: State) -> None:
        super().save(state)
        raise KillError


def fit_and_die(trainer: Trainer) -> None:
    """Train as far as the first checkpoint."""
    trainer.saving = _Dying(*(getattr(trainer.saving, field.name) for field in fields(Saving)))
    with pytest.raises(KillError):
        trainer.fit()
