"""Run folders: what a resumed run may change, formats, and runs of code that is not there any more."""

import json
from pathlib import Path

import pytest
import yaml

import xmodal
from xmodal.config.load import load_config
from xmodal.errors import UserError
from xmodal.runs.checkpoint import read_state
from xmodal.training.trainer import Trainer


@pytest.fixture
def run(tiny_config: Path, tmp_path: Path) -> Path:
    Trainer(load_config(tiny_config, ["train.steps=4", "evaluators={}", "train.trackers=[jsonl]"])).fit()
    return tmp_path / "run"


def again(config: Path, *overrides: str) -> Trainer:
    common = ["train.steps=4", "evaluators={}", "train.trackers=[jsonl]", "train.resume=true"]
    return Trainer(load_config(config, [*common, *overrides]))


def test_what_changes_no_step_is_free_and_the_rest_is_said(run: Path, tiny_config: Path) -> None:
    again(
        tiny_config, "data.max_bad=0.5", "data.workers=1", "data.cache_mb=1", "train.log_every=1", "train.save_every=1"
    )
    assert load_config(run / "config.yaml").data.max_bad == 0.5
    with pytest.raises(UserError) as error:
        again(tiny_config, "optim.lr=1e-4", "optim.clip=0.5")
    lines = str(error.value).splitlines()
    assert len(lines) == 2
    assert all("train.resume=changed" in line for line in lines)
    with pytest.raises(UserError, match=r"cannot resume with another config: towers\.speech\.width"):
        again(tiny_config, "train.resume=changed", "towers.speech.width=24", "towers.speech.heads=4")


def test_what_is_changed_is_written_down(run: Path, tiny_config: Path) -> None:
    trainer = again(tiny_config, "train.resume=changed", "optim.lr=1e-4", "train.steps=6")
    trainer.fit()
    [row] = [json.loads(line) for line in (run / "changes.jsonl").read_text().splitlines()]
    assert row["step"] == 4
    assert set(row["changed"]) == {"optim.lr: 0.003 -> 0.0001", "train.steps: 4 -> 6"}
    assert load_config(run / "config.yaml").optim.lr == 1e-4
    assert trainer.state.step == 6
    facts = json.loads((run / "training.json").read_text())
    assert facts["changed"] == [row]


def test_a_run_of_a_newer_format_is_refused(run: Path, tiny_config: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["format"] == 2
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"format": 3}))
    for attempt in (lambda: xmodal.load(run), lambda: again(tiny_config)):
        with pytest.raises(UserError, match=r"a run of format 3, and this xmodal reads up to 2; update it"):
            attempt()


def test_a_checkpoint_says_its_format_and_takes_what_it_knows(run: Path) -> None:
    path = next((run / "checkpoints").iterdir()) / "state.json"
    state = json.loads(path.read_text())
    assert state["format"] == 2
    path.write_text(json.dumps(state | {"something": "new"}))
    assert read_state(path).step == 4
    path.write_text(json.dumps(state | {"format": 3}))
    with pytest.raises(UserError, match="a checkpoint of format 3"):
        read_state(path)


def test_loading_needs_nothing_of_what_only_training_needs(run: Path) -> None:
    expected = xmodal.load(run).encode("text", ["stop it"])
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["objective"] = {"kind": "gone_package.losses:Gone", "secret": 3}
    config["optim"] = {"kind": "an optimizer of tomorrow"}
    config["evaluators"] = {"gone": {"kind": "gone_package.tests:Gone", "test": "nowhere"}}
    config["key of tomorrow"] = 1
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    encoder = xmodal.load(run)
    assert encoder.encode("text", ["stop it"]).equal(expected)
    assert encoder.provenance["objective"]["kind"] == "gone_package.losses:Gone"
