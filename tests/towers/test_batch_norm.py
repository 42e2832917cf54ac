"""BatchNorm in heads over real processes with uneven rows, one without any: as one process with the whole batch."""

import gc

import torch
import torch.distributed as dist
from plain_towers import D, Locked, N, NoHead, Plain, batch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from xmodal.aligner.aligner import Aligner, Term
from xmodal.aligner.target import MomentumTarget
from xmodal.objectives import BYOL
from xmodal.towers.batch_norm import BatchNorm
from xmodal.towers.heads import MLP
from xmodal.towers.tower import Tower

CUTS = [0, 7, 7, N]


def make(layer=BatchNorm):
    torch.manual_seed(0)
    speech = Tower(Plain(7), MLP(5, D, hidden=8, layers=3, norm="batch"))
    text = Tower(Locked(), NoHead(), locked=True)
    predictor = nn.Sequential(nn.Linear(D, 9), layer(9), nn.ReLU(), nn.Linear(9, D))
    terms = [
        Term("across", BYOL(), (("speech", "text"),)),
        Term("self", BYOL(symmetric=False), (("speech", "speech"),)),
    ]
    target = MomentumTarget(speech, 0.5)
    return Aligner({"speech": speech, "text": text}, terms, 3, {"speech": target}, {"speech": predictor}).double()


def train(model, aligner, rows):
    """Gradients and state after two steps."""
    found = {}
    optimizer = torch.optim.SGD([p for p in aligner.parameters() if p.requires_grad], lr=0.1)
    for step in range(2):
        loss = model(batch(rows))
        optimizer.zero_grad()
        loss.value.backward()
        found |= {f"{step}.{n}": p.grad.clone() for n, p in aligner.named_parameters() if p.grad is not None}
        optimizer.step()
        aligner.after_step()
    return found | dict(aligner.state_dict()) | {"loss": loss.parts["loss"]}


def worker(rank, world, where, out):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{where}", rank=rank, world_size=world)
    aligner = make()
    model = DistributedDataParallel(aligner)
    torch.save(train(model, aligner, slice(*CUTS[rank : rank + 2])), f"{out}.{rank}")
    del model
    gc.collect()
    dist.destroy_process_group()


def test_processes_are_as_one(tmp_path):
    world = 3
    torch.multiprocessing.spawn(worker, (world, str(tmp_path / "init"), str(tmp_path / "out")), nprocs=world)
    aligner = make()
    want = train(aligner, aligner, slice(None))
    for rank in range(world):
        got = torch.load(tmp_path / f"out.{rank}", weights_only=True)
        assert got.keys() == want.keys()
        for name, value in want.items():
            torch.testing.assert_close(got[name], value, rtol=1e-7, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


def test_one_process_is_torchs():
    one, torchs = make(), make(nn.BatchNorm1d)
    want = train(torchs, torchs, slice(None))
    for name, value in train(one, one, slice(None)).items():
        torch.testing.assert_close(value, want[name])
