"""`kernel: auto`: the whole choice on tiny runs; what is kept, resumed, loaded and said."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from missed_evaluator import Missed
from safetensors.torch import load_file

import xmodal
from xmodal.commands.cli import main
from xmodal.config.load import load_config
from xmodal.data.hard import kept_lists
from xmodal.errors import UserError
from xmodal.objectives import CWCL
from xmodal.objectives.auto_kernel import Auto
from xmodal.objectives.kernels import Affine, OneHot
from xmodal.runs.kernel_choice import read_choice
from xmodal.training.kernel_choice.choosing import with_choice
from xmodal.training.trainer import Trainer

MISSED = f"{Missed.__module__}:{Missed.__name__}"
CANDIDATES = "[{kind: perplexity, perplexity: 3}, {kind: affine}]"


@pytest.fixture
def config(tiny_config: Path, tiny_bert: Path, tiny_pairs: Path, tmp_path: Path) -> Path:
    """The tiny config with a stored text side, and a kernel that is chosen by which run misses most.

    Affine weights in both directions pull every item to all texts: such a run never learns the pairs.
    """
    text = f"{{kind: store, path: {tmp_path / 'store'}, tower: {{kind: transformers, name: {tiny_bert}}}}}"
    kernel = f"{{kind: auto, dev: dev, steps: 30, most_uniform: 1, candidates: {CANDIDATES}}}"
    written = tiny_config.read_text().replace(f"{{kind: transformers, name: {tiny_bert}}}", text)
    written = written.replace("objective: {kind: cwcl}", f"objective: {{kind: cwcl, anchor: both, kernel: {kernel}}}")
    written += f"  dev: {{kind: '{MISSED}', test: {tiny_pairs / 'train.jsonl'}}}\n"
    written = written.replace("lr: 3e-3", "lr: 1e-2").replace("batch_size: 10", "batch_size: 20, trackers: [jsonl]")
    tiny_config.write_text(written)
    return tiny_config


def fit(config: Path, *overrides: str) -> Any:
    return Trainer(load_config(config, list(overrides))).fit()


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def test_the_kernel_that_wins_is_the_runs(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    report, run = fit(config), tmp_path / "run"
    choice = read_choice(run)
    assert choice is not None
    assert (choice["name"], choice["kernel"], choice["key"]) == ("affine", Affine().model_dump(), "objective.kernel")
    assert choice["protocols"] == ["missed"]  # `constant` tells nothing
    assert choice["items"] == 60
    assert choice["compared"]["affine"]["low"] > 0
    assert choice["compared"].keys() == choice["targets"].keys() == {"affine", "perplexity 3"}
    assert load_config(run / "config.yaml").objective.kernel == Affine()
    said = capsys.readouterr().out
    assert "objective.kernel: targets over 4 batches of 20 pairs drawn at random" in said
    assert "objective.kernel: 30 steps with each of one_hot; perplexity 3; affine, judged by dev" in said
    assert f"objective.kernel: affine: {choice['reason']}" in said
    assert f"objective.kernel: affine, chosen on dev: {choice['reason']}." in report.notes
    flattered = [note for note in report.notes if note.endswith("chosen on this test, which flatters its numbers.")]
    assert flattered == ["dev: the kernel was chosen on this test, which flatters its numbers."]

    direct = tmp_path / "direct"
    fit(config, "objective.kernel={kind: affine}", f"output={direct}")
    assert all(torch.equal(value, weights(direct)[name]) for name, value in weights(run).items())
    assert xmodal.load(run).encode("text", ["stop"]).shape == (1, 32)

    def never(*_: Any) -> None:
        raise AssertionError("chosen again")

    monkeypatch.setattr("xmodal.training.kernel_choice.choosing.drawn_batches", never)
    fit(config, "train.resume=changed", "train.steps=14", "optim.lr=5e-3")
    assert load_config(run / "config.yaml").objective.kernel == Affine()
    with pytest.raises(UserError, match=r"cannot resume with another config: objective\.kernel\.kind: affine -> auto"):
        fit(config, "train.resume=true", "objective.kernel.steps=40")


def test_one_hot_where_nothing_wins(config: Path, tmp_path: Path) -> None:
    report = fit(config, "objective.kernel.candidates=[{kind: perplexity, perplexity: 3}]", "objective.kernel.steps=2")
    choice = read_choice(tmp_path / "run")
    assert choice is not None
    assert choice["name"] == "one_hot"
    assert choice["reason"].startswith("nothing beats it by its interval; the best, perplexity 3: ")
    assert load_config(tmp_path / "run" / "config.yaml").objective.kernel == OneHot()
    assert any(note.startswith("objective.kernel: one_hot, chosen on dev: nothing beats it") for note in report.notes)


def test_nothing_trains_where_no_candidate_is_worth_it(config: Path, tmp_path: Path) -> None:
    """Of a term that goes by a name."""
    kernel = "{kind: auto, dev: held, candidates: [{kind: affine}, {kind: power, power: 1000}]}"
    Trainer(load_config(config, [f"objective={{align: {{kind: cwcl, kernel: {kernel}}}}}"]))
    choice = read_choice(tmp_path / "run")
    assert choice is not None
    assert (choice["name"], choice["reason"]) == ("one_hot", "no candidate was left to compare it with")
    assert choice["left_out"]["affine"].startswith("almost uniform: 0.99")
    assert choice["left_out"]["power 1000"].startswith("almost one-hot: 0.0")
    assert sorted(path.name for path in (tmp_path / "run" / "auto").iterdir()) == ["asked.json", "choice.json"]
    assert load_config(tmp_path / "run" / "config.yaml").objective["align"].kernel == OneHot()


def test_neighbour_lists_are_made_once(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, make = list[int](), kept_lists._make

    def counted(*given: Any) -> Any:
        made.append(1)
        return make(*given)

    monkeypatch.setattr(kept_lists, "_make", counted)
    Trainer(load_config(config, ["objective.kernel.steps=1", "train.sampler={kind: hard, neighbours: 4}"]))
    assert len(made) == 1
    run = tmp_path / "run"
    kept = [(folder / "neighbours.npy").read_bytes() for folder in (run, *(run / "auto").glob("*/"))]
    assert len(kept) == 4
    assert len({*kept}) == 1


class KillError(Exception):
    """Stands for a kill."""


@pytest.mark.slow
def test_killed_while_choosing_it_goes_on(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, short = tmp_path / "run", ["objective.kernel.steps=2"]
    fit_whole, begun = Trainer.fit, list[str]()

    def fit_or_die(self: Trainer) -> Any:
        begun.append(self.config.output.name)
        if begun == ["one_hot", "perplexity_3"]:
            raise KillError
        return fit_whole(self)

    monkeypatch.setattr(Trainer, "fit", fit_or_die)
    with pytest.raises(KillError):
        Trainer(load_config(config, short))
    assert read_choice(run) is None
    first = (run / "auto" / "one_hot" / "metrics.jsonl").stat().st_mtime_ns
    fit(config, *short)
    assert begun == ["one_hot", "perplexity_3", "one_hot", "perplexity_3", "affine", "run"]
    assert (run / "auto" / "one_hot" / "metrics.jsonl").stat().st_mtime_ns == first  # read, not trained again
    assert read_choice(run) is not None
    assert not json.loads((run / "auto" / "asked.json").read_text())["config"]["train"]["resume"]


@pytest.mark.slow
def test_another_config_is_another_choice(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of another objective that has a kernel."""
    kernel = "{kind: auto, dev: dev, steps: 2, most_uniform: 1, candidates: [{kind: affine}]}"
    short = [f"objective={{kind: siglip, kernel: {kernel}}}"]
    Trainer(load_config(config, short))
    stamp = (tmp_path / "run" / "auto" / "choice.json").stat().st_mtime_ns
    Trainer(load_config(config, [*short, "train.steps=20", "train.log_every=5"]))  # no other short runs
    assert (tmp_path / "run" / "auto" / "choice.json").stat().st_mtime_ns == stamp
    assert "are removed" not in capsys.readouterr().out
    Trainer(load_config(config, [*short, "optim.lr=1e-3"]))
    assert "run/auto: short runs of another config or dev split are removed" in capsys.readouterr().out
    saved = load_config(tmp_path / "run" / "auto" / "affine" / "config.yaml")
    assert saved.optim.lr == 1e-3


def test_several_processes_need_the_choice_before(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ["objective.kernel.steps=2", "objective.kernel.candidates=[{kind: affine}]"]
    asked = load_config(config, short)
    with pytest.raises(UserError, match=r"objective\.kernel: auto is chosen by one process, .* xmodal choose-kernel"):
        with_choice(asked, processes=2)
    main(["choose-kernel", str(config), *short])
    choice = read_choice(tmp_path / "run")
    assert choice is not None
    assert capsys.readouterr().out.splitlines()[-1] == f"objective.kernel: {choice['name']}: {choice['reason']}"
    assert with_choice(asked, processes=2).objective.kernel.model_dump() == choice["kernel"]
    with pytest.raises(UserError, match=r"no term of the objective has kernel: \{kind: auto\}"):
        main(["choose-kernel", str(config), "objective.kernel={kind: affine}"])


MISTAKES = {
    "objective.kernel.dev=''": r"objective\.kernel\.dev: '' is none of the evaluators \(held, dev\); name the one to",
    "objective.kernel.dev=test/acc1": r"objective\.kernel\.dev: 'test/acc1' is none of the evaluators \(held, dev\);",
    "objective.kernel.centre=true": r"objective\.kernel: centre and identity_mix belong to the candidates",
    "objective.kernel.candidates=[{kind: one_hot}]": r"one_hot is always compared with, and auto is none; leave them",
    "objective.kernel.candidates=[{kind: power}, {kind: power, power: 4}]": r"candidates: power_4 is there twice",
    "objective.kernel.candidates=[]": r"objective\.kernel\.candidates: found 0, must be at least 1",
    "objective.kernel.candidates=[{kind: powr}]": r"candidates\.0\.kind: 'powr' is not one of .*; did you mean power\?",
    "objective.kernel.steps=0": r"objective\.kernel\.steps: 0 must be at least 1",
    "objective={a: {kind: cwcl, kernel: {kind: auto, dev: dev}}, b: {kind: siglip, kernel: {kind: auto, dev: dev}}}": (
        r"objective\.b\.kernel: auto is chosen for one term of a run, and a has it too"
    ),
    "objective.scope=store": r"anchor trainable",
}


@pytest.mark.parametrize("override", MISTAKES)
def test_a_mistake_is_one_line(config: Path, override: str) -> None:
    with pytest.raises(UserError, match=MISTAKES[override]) as error:
        load_config(config, [override])
    assert "\n" not in str(error.value)


def test_mistakes_of_the_guide_and_of_dev(config: Path, tiny_bert: Path) -> None:
    with pytest.raises(UserError, match=r"towers\.text is of kind transformers; read it from a store \(towers\.text"):
        load_config(config, [f"towers.text={{kind: transformers, name: {tiny_bert}}}"])
    with pytest.raises(UserError, match=r"objective\.kernel: auto looks at targets over batches; set objective\.scope"):
        load_config(config, ["objective.scope=store", "objective.anchor=trainable"])
    with pytest.raises(UserError, match=r"'dev/mist' has no outcome by item .* dev/missed, dev/constant$"):
        fit(config, "objective.kernel.dev=dev/mist", "objective.kernel.steps=1")
    with pytest.raises(
        UserError, match=r"objective\.kernel\.dev: no metric 'acc' in held; expected one of accuracy_mean, "
    ):
        fit(config, "objective.kernel.dev=held/acc", f"output={config.parent / 'other'}")
    assert not (config.parent / "other" / "auto").exists()


def test_no_objective_computes_with_it() -> None:
    from xmodal.batch import Embeddings

    z = torch.eye(4)
    with pytest.raises(UserError, match=r"kernel: auto is chosen when a run begins"):
        CWCL(kernel=Auto(dev="dev"))(Embeddings.of(speech=z, text=z), "speech", "text")
