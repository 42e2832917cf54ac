"""The aligner: chunked equals unchunked, and several processes equal one, for towers and temperature."""

import gc
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from plain_towers import D, Locked, N, NoHead, Plain, batch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from xmodal.aligner.aligner import ONLY, Aligner, Term
from xmodal.aligner.build import build_aligner
from xmodal.config.load import load_config
from xmodal.errors import UserError
from xmodal.objectives import CWCL, InfoNCE
from xmodal.objectives.kernels import Exp
from xmodal.towers.heads import Linear
from xmodal.towers.tower import Tower


def make(objective: str, chunk: int | None = None, norm: nn.Module | None = None) -> Aligner:
    torch.manual_seed(0)
    speech = Tower(Plain(7, norm), Linear(5, D))
    text = Tower(Locked(), NoHead(), locked=True)
    made = InfoNCE() if objective == "infonce" else CWCL(kernel=Exp(temperature=0.5), anchor="both")
    if objective == "affine":
        made = CWCL()
    return Aligner({"speech": speech, "text": text}, [Term(ONLY, made, (("speech", "text"),))], chunk).double()


def gradients(module: nn.Module) -> dict[str, torch.Tensor]:
    return {n.removeprefix("module."): p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


def whole(objective: str, chunk: int | None = None) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    aligner = make(objective, chunk)
    loss = aligner(batch())
    loss.value.backward()
    return loss.value.detach(), gradients(aligner)


@pytest.mark.parametrize("chunk", [1, 3, 4, 11, 50])
def test_chunked_encoding_changes_nothing(chunk: int) -> None:
    value, expected = whole("affine")
    chunked_value, found = whole("affine", chunk)
    torch.testing.assert_close(chunked_value, value)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-6, atol=1e-9)


def test_chunking_with_batch_norm_is_refused() -> None:
    with pytest.raises(UserError, match=r"train\.chunk.*speech.*BatchNorm"):
        make("affine", 4, nn.BatchNorm1d(5))


def _worker(rank: int, world: int, where: str, objective: str, chunk: int | None, out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{where}", rank=rank, world_size=world)
    model = DistributedDataParallel(make(objective, chunk))
    cuts = [0, 2, N] if world == 2 else [0, 5, 6, N]  # uneven on purpose
    loss = model(batch(slice(cuts[rank], cuts[rank + 1])))
    loss.value.backward()
    values = {"value": loss.parts["loss"], **gradients(model)}
    torch.save(values, f"{out}.{rank}")
    del model, loss  # DDP must go before its process group, or the two may wait for each other for ever
    gc.collect()
    dist.destroy_process_group()


@pytest.mark.parametrize(
    ("world", "objective", "chunk"),
    [
        pytest.param(2, "affine", None, marks=pytest.mark.slow),
        (2, "both", 3),
        pytest.param(3, "infonce", None, marks=pytest.mark.slow),
    ],
)
def test_processes_equal_one_process(world: int, objective: str, chunk: int | None, tmp_path: Path) -> None:
    value, expected = whole(objective)
    mp.spawn(_worker, (world, str(tmp_path / "init"), objective, chunk, str(tmp_path / "out")), nprocs=world)
    for rank in range(world):
        found = torch.load(tmp_path / f"out.{rank}", weights_only=True)
        torch.testing.assert_close(found.pop("value"), value, rtol=1e-6, atol=1e-7)
        assert found.keys() == expected.keys()
        assert "terms.objective.log_scale" in found
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-6, atol=1e-9)


def test_head_takes_the_guides_width(tiny_config: Path) -> None:
    aligner, _ = build_aligner(load_config(tiny_config))
    assert aligner.towers["speech"].dim == aligner.towers["text"].dim == 32


def test_unequal_widths_are_refused(tiny_config: Path) -> None:
    config = load_config(tiny_config, ["towers.speech.head={kind: linear, dim: 7}"])
    with pytest.raises(UserError, match=r"towers\.speech\.head.*7.*32"):
        build_aligner(config)
