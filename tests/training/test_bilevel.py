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
from xmodal.objectives.engine.second_order import twice_differentiable
from xmodal.towers.heads import MLP
from xmodal.towers.tower import Tower
from xmodal.training.steps import outer_gradients

LR = 0.7


def make(chunk=None):
    torch.manual_seed(0)
    speech = Tower(Plain(7), MLP(5, dim=6, hidden=4))
    text = Tower(Locked(), NoHead(), locked=True)
    return Aligner({"speech": speech, "text": text}, [Term("t", Weighted(), (("speech", "text"),))], chunk).double()


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


def test_losses_are_the_same_once_and_twice_differentiable():
    aligner = make()
    once = aligner(batch())
    with twice_differentiable():
        twice = aligner(batch())
    torch.testing.assert_close(twice.value, once.value)
    trained = [p for p in aligner.parameters() if p.requires_grad]
    first = torch.autograd.grad(once.value, trained, allow_unused=True)
    torch.testing.assert_close(torch.autograd.grad(twice.value, trained, allow_unused=True), first)


def _worker(rank: int, where: str, out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{where}", rank=rank, world_size=2)
    aligner = make()
    part = batch(slice(0, 4) if rank == 0 else slice(4, 11))
    part.clock = Clock(0, 1)
    _, (gradient,) = outer_gradients(aligner, part, [aligner.term("t").pull], LR)
    torch.save(gradient, f"{out}.{rank}")
    gc.collect()
    dist.destroy_process_group()


def test_two_processes_have_the_gradient_of_one(tmp_path: Path):
    mp.spawn(_worker, (str(tmp_path / "init"), str(tmp_path / "out")), nprocs=2)
    aligner = make()
    _, (want,) = outer_gradients(aligner, batch(), [aligner.term("t").pull], LR)
    for rank in range(2):
        torch.testing.assert_close(torch.load(f"{tmp_path / 'out'}.{rank}"), want, rtol=1e-9, atol=1e-12)
