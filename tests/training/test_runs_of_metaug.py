"""Whole runs: MetAug's generators learn beside the towers, and a quantizer's codebooks are used and told."""

import json
from pathlib import Path

import pytest
import torch

import xmodal
from xmodal.config.load import load_config
from xmodal.errors import UserError
from xmodal.training.steps import outer_gradients
from xmodal.training.trainer import Trainer

METAUG = [
    "objective={kind: metaug, hidden: 32}",
    "train.step=bilevel",
    "train.virtual_lr=0.1",
    "train.trackers=[jsonl]",
]
HEAD = "towers.speech.head={kind: linear}"


def logged(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_run_learns_and_says_how_many_margins_are_active(tiny_config: Path, tmp_path: Path) -> None:
    trainer = Trainer(load_config(tiny_config, [*METAUG, HEAD, "train.steps=60", "optim.lr=1e-2"]))
    before = [p.detach().clone() for p in trainer.stepper.outer]
    report = trainer.fit()
    assert report.value("held/accuracy_mean") > 0.5  # chance is 1/4
    rows = [row for row in logged(tmp_path / "run") if "train/outer/margin" in row]
    assert rows[-1]["train/original"] < rows[0]["train/original"]
    assert 0 <= rows[-1]["train/outer/active_positives"] <= 1
    # all but the biases before batch norm, which have no gradient
    moved = [not torch.equal(p.detach(), was) for p, was in zip(trainer.stepper.outer, before, strict=True)]
    assert sum(moved) >= 16
    assert xmodal.load(tmp_path / "run").modalities == ("speech", "text")


def test_backbones_may_make_the_virtual_step_too(tiny_config: Path, tmp_path: Path) -> None:
    everything = [*METAUG, "train.virtual=all", "towers.text.mode=unlocked", "evaluators={}", "train.steps=2"]
    Trainer(load_config(tiny_config, everything)).fit()
    assert "train/outer/loss" in logged(tmp_path / "run")[-1]
    with pytest.raises(UserError, match=r"virtual: all differentiates the backbones twice, which chunks do not allow"):
        load_config(tiny_config, [*everything, "train.chunk=4"])


def test_an_outer_gradient_that_is_not_finite_stops_the_run(tiny_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args):  # type: ignore[no-untyped-def]
        loss, gradients = outer_gradients(*args)
        return loss, [torch.full_like(gradient, torch.nan) for gradient in gradients]

    monkeypatch.setattr("xmodal.training.steps.outer_gradients", broken)
    with pytest.raises(UserError, match=r"step 1: outer gradient is not finite"):
        Trainer(load_config(tiny_config, [*METAUG, HEAD, "evaluators={}"])).fit()


@pytest.mark.parametrize("chunk", ["null", "4"])
def test_a_term_over_steps_goes_with_a_virtual_step(tiny_config: Path, tmp_path: Path, chunk: str) -> None:
    terms = "objective={align: {kind: metaug, hidden: 8}, steps: {kind: local_global, on: [speech], weight: 0.1}}"
    common = [terms, *METAUG[1:], "towers.speech.head={kind: transformer, heads: 2}", "evaluators={}", "train.steps=2"]
    Trainer(load_config(tiny_config, [*common, f"train.chunk={chunk}"])).fit()
    assert "train/outer/align/loss" in logged(tmp_path / "run")[-1]


def test_mistakes_with_a_way_out(tiny_config: Path) -> None:
    with pytest.raises(UserError, match=r"objective: its outer problem is never solved; set train\.step=bilevel"):
        Trainer(load_config(tiny_config, METAUG[:1]))
    none = [*METAUG, "towers.text.mode=unlocked", "towers.speech.head={kind: identity}", "towers.speech.width=32"]
    with pytest.raises(UserError, match=r"no head trains; give a tower one .* or set train\.virtual=all"):
        Trainer(load_config(tiny_config, [*none, "towers.speech.heads=4"]))


def test_a_quantizers_codebooks_are_told_beside_the_loss(tiny_config: Path, tmp_path: Path) -> None:
    terms = "objective={align: {kind: infonce}, use: {kind: codebook_diversity, on: [speech]}}"
    head = "towers.speech.head={kind: quantizer, groups: 2, entries: 8, code_width: 16}"
    common = [terms, head, "train.steps=60", "optim.lr=1e-2", "train.trackers=[jsonl]"]
    trainer = Trainer(load_config(tiny_config, common))
    report = trainer.fit()
    assert report.value("held/accuracy_mean") > 0.5  # chance is 1/4
    assert trainer.aligner.tower("speech").head.temperature == pytest.approx(0.5)
    last = [row for row in logged(tmp_path / "run") if "train/loss" in row][-1]
    assert 1 < last["train/use/perplexity_1"] <= 8
    assert last["train/use/loss"] == pytest.approx(
        1 - (last["train/use/perplexity_1"] + last["train/use/perplexity_2"]) / 16, abs=1e-4
    )
