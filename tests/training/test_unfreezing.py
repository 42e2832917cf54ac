"""A backbone that rests for some steps, and then trains: what moves when, over chunks, processes and resuming."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from killed_run import fit_and_die
from safetensors.torch import load_file
from torch import nn

import xmodal
from xmodal.aligner.build import build_aligner
from xmodal.config.load import load_config
from xmodal.errors import UserError
from xmodal.training.trainer import Trainer

TRAIN = Path(xmodal.__file__).parent / "train.py"
REST = 5
COMMON = [
    "towers.text.mode=unlocked", f"towers.text.unfreeze_after={REST}", "towers.text.head={kind: linear}",
    "objective.kind=infonce", "train.steps=8", "evaluators={}", "train.trackers=[jsonl]", "optim.weight_decay=0.5",
]  # fmt: skip


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def watched(config: Path, *overrides: str) -> tuple[Trainer, list[dict[str, torch.Tensor]], list[set[bool]]]:
    """A run's trainer, the text backbone before each step and after the last, and the modes of its modules then."""
    trainer = Trainer(load_config(config, [*COMMON, *overrides]))
    backbone = trainer.aligner.tower("text").backbone
    states: list[dict[str, torch.Tensor]] = []
    modes: list[set[bool]] = []

    def note(*_: object) -> None:
        states.append({name: value.clone() for name, value in backbone.state_dict().items()})

    backbone.model.register_forward_hook(lambda *_: modes.append({m.training for m in backbone.modules()}))
    trainer.aligner.register_forward_pre_hook(note)
    trainer.fit()
    note()
    return trainer, states, modes


OVER_TOKENS = "{kind: transformer, stack: 1, hidden: 16, layers: 1, heads: 2, feed_forward: 16}"


@pytest.mark.parametrize(("chunk", "head"), [("null", "{kind: linear}"), ("4", "{kind: linear}"), ("4", OVER_TOKENS)])
def test_nothing_moves_before_it_and_all_of_it_after(tiny_config: Path, chunk: str, head: str) -> None:
    trainer, states, modes = watched(tiny_config, f"train.chunk={chunk}", f"towers.text.head={head}")
    assert len(states) == 9
    for step, state in enumerate(states):
        moved = [name for name, value in state.items() if not torch.equal(value, states[0][name])]
        assert (not moved) == (step <= REST), step
    assert all(not torch.equal(states[-1][name], states[-2][name]) for name in states[0] if name.endswith("weight"))
    assert set(map(frozenset, modes)) == {frozenset({False}), frozenset({True})}
    assert modes.index({True}) == modes.count({False})  # at rest first, and never again
    own = set(trainer.aligner.tower("text").backbone.parameters())
    steps = {parameter in own: int(state["step"]) for parameter, state in trainer.optimizer.state.items()}
    assert steps == {True: 8 - REST, False: 8}  # moments and their correction begin when it wakes


def test_until_then_the_run_is_that_of_a_locked_tower(tiny_config: Path, tmp_path: Path) -> None:
    """Dropout in the backbone draws no number either."""
    save = ["train.save_every=5", "train.best=null"]
    locked = ["towers.text.mode=locked", "towers.text.unfreeze_after=0"]
    stopped = []
    for name, extra in {"rests": [], "locked": locked}.items():
        trainer = Trainer(load_config(tiny_config, [*COMMON, *save, *extra, f"output={tmp_path / name}"]))
        heads = trainer.aligner.tower("text").head, trainer.aligner.tower("speech")

        def keep(module: nn.Module, *_: object, heads: tuple[nn.Module, ...] = heads) -> None:
            stopped[-1].append([p.detach().clone() for head in heads for p in head.parameters()])

        stopped.append([])
        trainer.aligner.register_forward_pre_hook(keep)
        trainer.fit()
    for step in range(REST + 1):
        assert all(torch.equal(a, b) for a, b in zip(stopped[0][step], stopped[1][step], strict=True)), step
    assert not all(torch.equal(a, b) for a, b in zip(stopped[0][-1], stopped[1][-1], strict=True))


@pytest.mark.parametrize("saved", [5, *(pytest.param(at, marks=pytest.mark.slow) for at in (3, 6))])
def test_resuming_before_at_and_after_it_is_bit_equal(tiny_config: Path, tmp_path: Path, saved: int) -> None:
    common = [*COMMON, f"train.save_every={saved}"]
    Trainer(load_config(tiny_config, [f"output={tmp_path / 'whole'}", *common])).fit()

    fit_and_die(Trainer(load_config(tiny_config, common)))
    Trainer(load_config(tiny_config, [*common, "train.resume=true"])).fit()
    for name, value in weights(tmp_path / "whole").items():
        assert torch.equal(weights(tmp_path / "run")[name], value), name


@pytest.mark.slow
def test_two_processes_train_as_one(tiny_config: Path, tmp_path: Path) -> None:
    """With rates by depth, too; a large eps, since Adam turns rounding noise into whole steps."""
    extra = ["optim.eps=1e-3", "towers.speech.dropout=0", "optim.layer_decay=0.5", "train.chunk=3"]
    # BERT's own dropout would differ between one process and two
    aligner, _ = build_aligner(load_config(tiny_config, COMMON))
    model = aligner.tower("text").backbone.model
    model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = 0.0
    folder = tmp_path / "still_bert"
    model.save_pretrained(folder)
    source = Path(load_config(tiny_config).towers["text"].name)  # type: ignore[attr-defined]
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((source / name).read_bytes())
    extra.append(f"towers.text.name={folder}")
    for name, launcher in {
        "one": [],
        "two": ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"],
    }.items():
        command = [
            sys.executable,
            *launcher,
            str(TRAIN),
            str(tiny_config),
            f"output={tmp_path / name}",
            *COMMON,
            *extra,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stderr.count("optim.layer_decay: text: ") == 1
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    start = load_file(folder / "model.safetensors")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=2e-4, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}")
    assert any(not torch.equal(one[f"towers.text.backbone.model.{name}"], value) for name, value in start.items())


def test_a_momentum_target_rests_with_its_tower(tiny_config: Path) -> None:
    objective = ["objective={kind: moco, symmetric: true}", "targets={speech: {}, text: {momentum: 0.5}}"]
    trainer = Trainer(load_config(tiny_config, [*COMMON, *objective]))
    copied = trainer.aligner.targets["text"].copied.backbone  # type: ignore[union-attr]
    start = [value.clone() for value in copied.parameters()]
    seen: list[tuple[set[bool], bool]] = []

    def note(*_: object) -> None:
        stays = all(torch.equal(a, b) for a, b in zip(start, copied.parameters(), strict=True))
        seen.append(({module.training for module in copied.modules()}, stays))

    copied.register_forward_hook(note)
    trainer.fit()
    assert seen == [({False}, True)] * REST + [({True}, True)] + [({True}, False)] * (8 - REST - 1)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["train.steps=5"], r"towers\.text\.unfreeze_after: 5 steps, and train\.steps is 5: its backbone would never"),
        (["towers.text.mode=locked"], r"towers\.text: unfreeze_after goes with mode unlocked .*not 'locked'"),
        (["towers.text.unfreeze_after=-1"], r"unfreeze_after: -1 must be at least 0"),
    ],
)
def test_settings_that_do_not_go_together(tiny_config: Path, overrides: list[str], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        load_config(tiny_config, [*COMMON, *overrides])


def test_a_run_loads_and_a_store_does_not_mind(tiny_config: Path, tmp_path: Path) -> None:
    trainer = Trainer(load_config(tiny_config, COMMON))
    trainer.fit()
    expected = trainer.judge.encoder.encode("text", ["play the music"])
    torch.testing.assert_close(xmodal.load(tmp_path / "run").encode("text", ["play the music"]), expected)
    tower = load_config(tiny_config).towers["text"]
    assert "unfreeze_after" not in tower.settings()
