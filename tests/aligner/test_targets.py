"""Momentum targets and predictors: against a hand-rolled copy, and what an objective is given."""

import copy

import pytest
import torch
from plain_towers import Locked, NoHead, Plain, batch
from torch import nn
from torch.nn.functional import normalize

from xmodal.aligner.aligner import Aligner, Term
from xmodal.aligner.target import MomentumTarget
from xmodal.batch import Clock
from xmodal.config.schedule import Schedule
from xmodal.errors import UserError
from xmodal.objectives import Loss, Objective
from xmodal.towers.heads import MLP, Linear
from xmodal.towers.tower import Tower


class Predicts(Objective):
    """BYOL's loss between the prediction of one view and the target of the same."""

    def forward(self, embeddings, *sides):
        p, k = normalize(embeddings.predicted(sides[0]), dim=1), embeddings.target(sides[0])
        value = (2 - 2 * (p * k).sum(1)).mean()
        return Loss(value, {"loss": value.detach()})


def make(norm=None, locked=False, momentum=0.9, every=None, chunk=None, head=None):
    torch.manual_seed(0)
    speech = Tower(Plain(7, norm), head or Linear(5, 6), locked=locked)
    text = Tower(Locked(), NoHead(), locked=True)
    target = MomentumTarget(speech, momentum, every)
    terms = [Term("self", Predicts(), (("speech",),))]
    towers, predictor = {"speech": speech, "text": text}, nn.Linear(6, 6)
    return Aligner(towers, terms, chunk, {"speech": target}, {"speech": predictor}).double()


@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9, Schedule(schedule="cosine", start=0.5, to=1.0)])
def test_a_target_is_a_hand_rolled_average_after_many_steps(locked, momentum):
    aligner = make(nn.BatchNorm1d(5), locked, momentum)
    tower = aligner.tower("speech")
    module = tower.head if locked else tower
    slow = {name: value.clone() for name, value in module.named_parameters()}
    optimizer = torch.optim.SGD([p for p in aligner.parameters() if p.requires_grad], lr=0.5)
    for step in range(100):
        b = batch()
        b.clock = Clock(step, 100)
        aligner(b).value.backward()
        optimizer.step()
        optimizer.zero_grad()
        aligner.after_step()
        m = momentum if isinstance(momentum, float) else momentum.at(b.clock.progress)
        slow = {name: m * slow[name] + (1 - m) * p.detach() for name, p in module.named_parameters()}
    target = aligner.targets["speech"].copied
    for name, value in target.named_parameters():
        torch.testing.assert_close(value, slow[name], rtol=1e-9, atol=1e-9)
        assert not value.requires_grad
    for mine, theirs in zip(target.buffers(), module.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("locked", [False, True])
def test_a_past_checkpoint_is_the_tower_as_it_was(locked):
    aligner = make(nn.BatchNorm1d(5), locked, momentum=None, every=3)
    tower = aligner.tower("speech")
    module = tower.head if locked else tower
    optimizer = torch.optim.SGD([p for p in aligner.parameters() if p.requires_grad], lr=0.5)
    past = [value.clone() for value in module.parameters()]
    for step in range(8):
        b = batch()
        b.clock = Clock(step, 8)
        aligner(b).value.backward()
        optimizer.step()
        optimizer.zero_grad()
        aligner.after_step()
        if step in (2, 5):
            past = [value.clone() for value in module.parameters()]
        for mine, then in zip(aligner.targets["speech"].copied.parameters(), past, strict=True):
            assert torch.equal(mine, then)
    assert not torch.equal(past[0], next(module.parameters()))


def test_a_targets_head_sees_the_whole_batch_also_in_chunks():
    found = []
    for chunk in (None, 4):
        torch.manual_seed(1)
        aligner = make(chunk=chunk, head=MLP(5, 6, hidden=8, norm="batch"))
        found.append(aligner.embeddings(batch()).target("speech"))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("locked", [False, True])
def test_the_target_of_a_copy_is_the_towers_own_embedding(locked):
    aligner = make(locked=locked)
    e = aligner.embeddings(batch())
    torch.testing.assert_close(e.target("speech"), e.z("speech").detach())
    assert not e.target("speech").requires_grad
    assert e.predicted("speech").requires_grad
    torch.testing.assert_close(e.predicted("speech"), aligner.predictors["speech"](e.raw("speech")))
    torch.testing.assert_close(e.target("text"), e.z("text"))  # it never changes: its own target


def test_what_a_run_does_not_have_is_named():
    aligner = make()
    bare = Aligner(dict(aligner.towers.items()), [Term("self", Predicts(), (("speech",),))])
    e = bare.embeddings(batch())
    with pytest.raises(UserError, match=r"targets\.speech: an objective needs the momentum target"):
        e.target("speech")
    with pytest.raises(UserError, match=r"targets\.speech\.predictor"):
        e.predicted("speech")
    with pytest.raises(UserError, match="speech has no store"):
        e.bank("speech")


def test_targets_are_no_part_of_what_a_run_offers():
    from xmodal.runs.weights import kept_state, trained_state

    aligner = make()
    assert any(name.startswith("targets.speech.") for name in trained_state(aligner))
    assert not any(name.startswith(("targets.", "predictors.")) for name in kept_state(aligner))
    assert copy.deepcopy(aligner).state_dict().keys() == aligner.state_dict().keys()
