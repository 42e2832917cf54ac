"""The bilevel step: its second-order gradient against finite differences, on one process and on two."""

import gc
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from outer_objective import Weighted
from plain_towers import Locked, NoHead, Plain, batch
from torch.func import functional_call

from xmodal.aligner.aligner import Aligner, Term
from xmodal.batch import Clock
from xmodal.objectives import MetAug
from xmodal.objectives.engine.second_order import twice_differentiable
from xmodal.runs.weights import kept_state, load_trained_state, trained_state
from xmodal.towers.heads import MLP
from xmodal.towers.tower import Tower
from xmodal.training.steps import outer_gradients

LR = 0.7


def make(chunk=None, objective=Weighted):
    torch.manual_seed(0)
    speech = Tower(Plain(7), MLP(5, dim=6, hidden=4))
    text = Tower(Locked(), NoHead(), locked=True)
    return Aligner({"speech": speech, "text": text}, [Term("t", objective(), (("speech", "text"),))], chunk).double()


def after_virtual_step(aligner, pull):
    """The outer loss at heads that made one step down the inner loss, with `pull` as the outer parameter."""
    with torch.no_grad():
        aligner.term("t").pull.copy_(pull)
    heads = {n: p for n, p in aligner.named_parameters() if n.startswith("towers.speech.head.")}
    slopes = torch.autograd.grad(aligner(batch()).value, list(heads.values()))  # the streamed loss
    moved = {name: p - LR * slope for (name, p), slope in zip(heads.items(), slopes, strict=True)}
    return float(functional_call(aligner, moved, (batch(),), {"outer": True}).value.detach())


def differences():
    aligner, start, h = make(), torch.linspace(-1, 1, 6).double(), 1e-5
    found = torch.zeros(6, dtype=torch.float64)
    for i in range(6):
        e = torch.zeros(6, dtype=torch.float64)
        e[i] = h
        found[i] = (after_virtual_step(aligner, start + e) - after_virtual_step(aligner, start - e)) / (2 * h)
    return found


@pytest.mark.parametrize("chunk", [None, 4])
def test_the_second_order_gradient_is_that_of_finite_differences(chunk):
    aligner = make(chunk)
    loss, (gradient,) = outer_gradients(aligner, batch(), [aligner.term("t").pull], LR)
    want = differences()
    assert float(want.abs().max()) > 1e-4
    torch.testing.assert_close(gradient, want, rtol=1e-6, atol=1e-9)
    assert float(loss.parts["loss"]) == pytest.approx(after_virtual_step(make(), torch.linspace(-1, 1, 6)))


def generator_after_virtual_step(part, point):
    """MetAug's outer loss after a virtual step of the tower's `part`, at these weights of the generators."""
    aligner = make(objective=lambda: MetAug(hidden=3, beta=4))
    torch.nn.utils.vector_to_parameters(point, aligner.term("t").outer_parameters())
    moving = {n: p for n, p in aligner.named_parameters() if n.startswith(part) and p.requires_grad}
    slopes = torch.autograd.grad(aligner(batch()).value, list(moving.values()))
    moved = {name: p - LR * slope for (name, p), slope in zip(moving.items(), slopes, strict=True)}
    return float(functional_call(aligner, moved, (batch(),), {"outer": True}).value.detach())


@pytest.mark.parametrize("backbones", [False, True])
def test_metaugs_generators_have_the_gradient_of_finite_differences(backbones):
    aligner = make(objective=lambda: MetAug(hidden=3, beta=4))
    outer = aligner.term("t").outer_parameters()
    _, gradients = outer_gradients(aligner, batch(), outer, LR, backbones)
    found, start = torch.nn.utils.parameters_to_vector(gradients), torch.nn.utils.parameters_to_vector(outer).detach()
    part = "towers." if backbones else "towers.speech.head."
    for seed in range(3):
        way = torch.randn(len(start), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        h = 1e-6 / float(way.norm())
        ends = [generator_after_virtual_step(part, start + sign * h * way) for sign in (1, -1)]
        assert float(found @ way) == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-6)


def test_backbones_are_not_run_again_for_a_virtual_step_of_the_heads():
    aligner = make(objective=lambda: MetAug(hidden=3))
    aligner.groups = {"t": (("speech",),)}  # between its two views
    both, runs = batch(), []
    both.views = {"speech": ({"x": both.inputs["speech"]["x"].flip(0)},)}
    aligner.tower("speech").backbone.register_forward_hook(lambda *_: runs.append(torch.is_grad_enabled()))
    outer_gradients(aligner, both, aligner.term("t").outer_parameters(), LR)
    assert runs == [False, False]


def test_losses_are_the_same_once_and_twice_differentiable():
    aligner = make()
    once = aligner(batch())
    with twice_differentiable():
        twice = aligner(batch())
    torch.testing.assert_close(twice.value, once.value)
    trained = [p for p in aligner.parameters() if p.requires_grad]
    first = torch.autograd.grad(once.value, trained, allow_unused=True)
    torch.testing.assert_close(torch.autograd.grad(twice.value, trained, allow_unused=True), first)


def generator_gradient(part):
    """Of MetAug's generators, as one vector."""
    aligner = make(objective=lambda: MetAug(hidden=3, beta=4))
    gradients = outer_gradients(aligner, part, aligner.term("t").outer_parameters(), LR, backbones=True)[1]
    return torch.nn.utils.parameters_to_vector(gradients)


def _worker(rank: int, where: str, out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{where}", rank=rank, world_size=2)
    aligner = make()
    part = batch(slice(0, 4) if rank == 0 else slice(4, 11))
    part.clock = Clock(0, 1)
    _, (gradient,) = outer_gradients(aligner, part, [aligner.term("t").pull], LR)
    torch.save([gradient, generator_gradient(part)], f"{out}.{rank}")
    gc.collect()
    dist.destroy_process_group()


def test_two_processes_have_the_gradient_of_one(tmp_path: Path):
    mp.spawn(_worker, (str(tmp_path / "init"), str(tmp_path / "out")), nprocs=2)
    aligner = make()
    _, (want,) = outer_gradients(aligner, batch(), [aligner.term("t").pull], LR)
    for rank in range(2):
        got = torch.load(f"{tmp_path / 'out'}.{rank}")
        torch.testing.assert_close(got, [want, generator_gradient(batch())], rtol=1e-9, atol=1e-12)


def test_generators_learn_from_a_batch_whose_first_pair_is_the_same_as_all():
    aligner, part = make(objective=lambda: MetAug(hidden=3, beta=4)), batch(slice(0, 4))
    part.item_ids = {"speech": torch.tensor([0, 0, 1, 0]), "text": torch.tensor([5, 1, 5, 2])}
    for gradient in outer_gradients(aligner, part, aligner.term("t").outer_parameters(), LR)[1]:
        assert bool(torch.isfinite(gradient).all())


def test_generators_are_no_part_of_what_a_run_offers():
    aligner = make(objective=lambda: MetAug(hidden=3))
    old = {name: value for name, value in trained_state(aligner).items() if not name.startswith("targets.")}
    assert any(".generators." in name for name in old)
    assert kept_state(aligner).keys() == {name for name in old if name.startswith("towers.")}
    load_trained_state(aligner, old, "runs/old", whole=False)  # of a version that kept them
