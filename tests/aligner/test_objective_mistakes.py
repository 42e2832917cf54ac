"""Mistakes of whoever writes an objective end in one line that names them, and not deep inside xmodal."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from plain_towers import D, Locked, NoHead, Plain, batch

from xmodal.aligner.aligner import Aligner, Term
from xmodal.errors import UserError
from xmodal.objectives import Embeddings, Loss, Objective
from xmodal.towers.heads import Linear
from xmodal.towers.tower import Tower


def aligner(forward: Callable[[Embeddings], Any]) -> Aligner:
    class Mistaken(Objective):
        """Returns what it is told to."""

        def forward(self, embeddings, *sides):
            return forward(embeddings)

    towers = {"speech": Tower(Plain(7), Linear(5, D)), "text": Tower(Locked(), NoHead(), locked=True)}
    return Aligner(towers, [Term("t", Mistaken(), (("speech", "text"),))]).double()


def z(e: Embeddings) -> torch.Tensor:
    return e.z("speech")


@pytest.mark.parametrize(
    ("forward", "line"),
    [
        (lambda e: z(e).sum(), "Mistaken.forward returned a Tensor, expected a Loss"),
        (
            lambda e: Loss(z(e).sum(), {}),
            r"a value of shape \[\] and the parts none; expected .*`loss` among",
        ),
        (lambda e: Loss(z(e).sum(1), {"loss": z(e).sum()}), r"a value of shape \[11\] and the parts loss"),
        (lambda e: Loss(z(e).sum().detach(), {"loss": z(e).sum()}), "has no gradient; was it detached"),
        (lambda e: Loss(e.z("audio").sum(), {}), "no side 'audio'; expected one of speech, text$"),
        (lambda e: Loss(e.same("labels").count.sum(), {}), "no side 'labels'; expected one of speech, text, label"),
        (lambda e: Loss(e.z("speech", 1).sum(), {}), r"asks for view 1 of speech, and the run makes 1; list Need"),
    ],
)
def test_one_line(forward: Callable[[Embeddings], Any], line: str) -> None:
    with pytest.raises(UserError, match=line):
        aligner(forward)(batch())


def test_parts_are_detached() -> None:
    loss = aligner(lambda e: Loss(z(e).sum(), {"loss": z(e).sum()}))(batch())
    assert not loss.parts["loss"].requires_grad
    assert not loss.parts["t/loss"].requires_grad
