"""Checkpoints: what is written comes back exactly, and a save cut short anywhere leaves the older one."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from xmodal.aligner.aligner import ONLY, Aligner, Term
from xmodal.config.schema import OptimSpec, Rule
from xmodal.errors import UserError
from xmodal.objectives import CWCL
from xmodal.runs import checkpoint, weights
from xmodal.runs.checkpoint import State, load_checkpoint, save_checkpoint
from xmodal.runs.folder import kept_weights, newest_checkpoint
from xmodal.runs.weights import load_tensors, load_trained_state, save_tensors, trained_state
from xmodal.towers.heads import Linear
from xmodal.towers.tower import Tower
from xmodal.training.optim import build_optimizer

GENERATORS = [torch.arange(16, dtype=torch.uint8), torch.arange(16, 32, dtype=torch.uint8)]


class Backbone(nn.Module):
    """One matrix, and a buffer that training changes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.inner = nn.Linear(3, width)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.norm(self.inner(inputs["x"]))


class NoHead(nn.Identity):
    dim = 6


def make(seed: int, width: int = 5) -> tuple[Aligner, torch.optim.AdamW]:
    """A trained tower and a locked one, with an optimizer of several groups."""
    torch.manual_seed(seed)
    speech, text = Tower(Backbone(width), Linear(width, 6)), Tower(Backbone(6), NoHead(), locked=True)
    aligner = Aligner({"speech": speech, "text": text}, [Term(ONLY, CWCL(), (("speech", "text"),))])
    return aligner, build_optimizer(aligner, OptimSpec(rules=(Rule(match="head", lr_scale=0.5),)))


def step(aligner: Aligner, optimizer: torch.optim.Optimizer, seed: int) -> None:
    """One update by gradients drawn from the seed."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in aligner.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimizer.step()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder whose only checkpoint is step 4."""
    (tmp_path / "config.yaml").write_text("output: here\n")
    aligner, optimizer = make(0)
    step(aligner, optimizer, 4)
    save_checkpoint(tmp_path, aligner, optimizer, State(step=4), GENERATORS)
    return tmp_path


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a)


def test_all_of_the_state_comes_back(tmp_path: Path) -> None:
    aligner, optimizer = make(0)
    for i in range(3):
        step(aligner, optimizer, i)
    aligner.towers["speech"].backbone.norm.running_mean.add_(1)
    state = State(step=3, best=0.25, best_step=2, threads=4, scaler={"scale": 1024.0, "_growth_tracker": 3})
    where = save_checkpoint(tmp_path, aligner, optimizer, state, GENERATORS)

    other, fresh = make(1)
    text = other.towers["text"].state_dict()
    found, generator = load_checkpoint(where, other, fresh, rank=1)
    assert found == state
    assert torch.equal(generator, GENERATORS[1])
    assert load_checkpoint(where, other, fresh, rank=2)[1] is None  # a third process was not there
    assert equal(trained_state(other), trained_state(aligner))
    assert equal(other.towers["text"].state_dict(), text)  # locked: not in the checkpoint
    names = [name for name, p in aligner.named_parameters() if p.requires_grad]
    mine, theirs = dict(aligner.named_parameters()), dict(other.named_parameters())
    for name in names:
        saved = optimizer.state[mine[name]]
        assert saved.keys() >= {"step", "exp_avg", "exp_avg_sq"}
        assert equal(fresh.state[theirs[name]], saved), name
    assert len(fresh.state) == len(names)
    for which, optim in ((aligner, optimizer), (other, fresh)):  # and so the next steps are the same
        for i in range(3, 6):
            step(which, optim, i)
    assert equal(trained_state(other), trained_state(aligner))


def test_nothing_is_pickled(run: Path) -> None:
    names = sorted(p.name for p in (run / "checkpoints" / "step-00000004").iterdir())
    assert names == [
        "config.yaml",
        "generators.safetensors",
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
    ]
    assert json.loads((run / "checkpoints" / "step-00000004" / "state.json").read_text())["step"] == 4


def test_the_newest_stays_alone(run: Path) -> None:
    aligner, optimizer = make(0)
    for number in (8, 12, 100):
        save_checkpoint(run, aligner, optimizer, State(step=number), GENERATORS)
        assert [p.name for p in (run / "checkpoints").iterdir()] == [f"step-{number:08d}"]


@pytest.mark.parametrize(
    ("function", "call"), [("save_file", 1), ("save_file", 2), ("save_file", 3), ("write_json", 1), ("rename", 1)]
)
def test_a_save_cut_short_leaves_the_older_checkpoint(
    run: Path, monkeypatch: pytest.MonkeyPatch, function: str, call: int
) -> None:
    before = load_tensors(run / "checkpoints" / "step-00000004" / "model.safetensors")
    aligner, optimizer = make(2)
    step(aligner, optimizer, 8)
    calls = 0

    def cut_short(real):
        def wrapped(*arguments, **named):
            nonlocal calls
            calls += 1
            if calls == call:
                raise KeyboardInterrupt
            return real(*arguments, **named)

        return wrapped

    real_replace = os.replace
    with monkeypatch.context() as patch:
        if function == "rename":  # state.json is renamed before, and that works
            patch.setattr(
                os,
                "replace",
                lambda a, b: cut_short(real_replace)(a, b) if Path(a).is_dir() else real_replace(a, b),
            )
        else:
            module = checkpoint if function == "write_json" else weights
            patch.setattr(module, function, cut_short(getattr(module, function)))
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(run, aligner, optimizer, State(step=8), GENERATORS)
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["step-00000004"] + ["step-00000008.tmp"] * (
        function == "rename"
    )
    newest = newest_checkpoint(run)
    assert newest is not None
    assert newest.name == "step-00000004"
    assert equal(kept_weights(run), before)
    other, fresh = make(3)
    assert load_checkpoint(newest, other, fresh, rank=0)[0].step == 4
    # and the next try cleans up
    save_checkpoint(run, aligner, optimizer, State(step=8), GENERATORS)
    assert [p.name for p in (run / "checkpoints").iterdir()] == ["step-00000008"]
    assert equal(kept_weights(run), trained_state(aligner))


def test_killed_before_the_older_one_is_gone(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aligner, optimizer = make(0)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.shutil, "rmtree", lambda *_, **__: None)
        save_checkpoint(run, aligner, optimizer, State(step=8), GENERATORS)
    assert len(list((run / "checkpoints").iterdir())) == 2
    (run / "checkpoints" / "step-00000004" / "model.safetensors").unlink()  # half removed
    newest = newest_checkpoint(run)
    assert newest is not None
    assert newest.name == "step-00000008"


def test_weights_are_old_or_new_never_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tensors({"x": torch.zeros(2)}, tmp_path / "a.safetensors")

    def fails(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fails)
        with pytest.raises(UserError, match=r"a\.safetensors: cannot be written \(disk full\)"):
            save_tensors({"x": torch.ones(2)}, tmp_path / "a.safetensors")
    assert torch.equal(load_tensors(tmp_path / "a.safetensors")["x"], torch.zeros(2))


def test_a_run_offers_its_kept_weights_first(run: Path) -> None:
    assert equal(kept_weights(run), load_tensors(run / "checkpoints" / "step-00000004" / "model.safetensors"))
    save_tensors({"best": torch.ones(1)}, run / "model.safetensors")
    assert kept_weights(run).keys() == {"best"}


def test_no_run_and_no_weights(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=f"{folder}: not a run folder"):
            kept_weights(folder)
    (tmp_path / "config.yaml").write_text("output: here\n")
    assert newest_checkpoint(tmp_path) is None
    (tmp_path / "checkpoints" / "step-00000004.tmp").mkdir(parents=True)
    assert newest_checkpoint(tmp_path) is None
    with pytest.raises(UserError, match=r"no weights yet.*train\.save_every"):
        kept_weights(tmp_path)


@pytest.mark.parametrize("size", [0, 5, -1])
def test_damaged_weights(run: Path, size: int) -> None:
    save_file({"x": torch.zeros(100)}, run / "whole")
    (run / "model.safetensors").write_bytes((run / "whole").read_bytes()[:size])
    with pytest.raises(UserError, match=r"model\.safetensors: cannot be read as safetensors"):
        kept_weights(run)


def test_weights_of_another_config() -> None:
    aligner, _ = make(0)
    wide, _ = make(0, width=7)
    message = r"runs/a: towers\.speech\.backbone\.inner\.weight is \(7, 3\), the config builds \(5, 3\)"
    with pytest.raises(UserError, match=message):
        load_trained_state(aligner, trained_state(wide), "runs/a")
    state = trained_state(aligner)
    with pytest.raises(UserError, match=r"runs/a: holds extra, which this config does not build"):
        load_trained_state(aligner, {**state, "extra": torch.zeros(1)}, "runs/a")
    del state["towers.speech.head.weight"]
    with pytest.raises(UserError, match=r"runs/a: lacks towers\.speech\.head\.weight \(1 of 10 tensors missing\)"):
        load_trained_state(aligner, state, "runs/a")


def test_a_trained_backbone_must_be_there() -> None:
    aligner, _ = make(0)
    state = trained_state(aligner)
    del state["towers.speech.backbone.inner.weight"]
    with pytest.raises(UserError, match=r"runs/a: lacks towers\.speech\.backbone\.inner\.weight"):
        load_trained_state(aligner, state, "runs/a")
