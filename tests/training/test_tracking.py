"""metrics.jsonl: one line per log, readable after a kill at any byte; trackers of other makers."""

import json
import math
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from accelerate import Accelerator

from xmodal.config.load import load_config
from xmodal.errors import UserError
from xmodal.runs.metrics_file import read_metrics, truncate_metrics
from xmodal.training.tracking import JsonlTracker, require_trackers, settings_of, start_trackers


def log(folder: Path, steps: range) -> None:
    tracker = JsonlTracker(folder / "metrics.jsonl")
    for step in steps:
        tracker.log({"train/loss": 1 / step}, step=step)


def test_one_line_per_log(tmp_path: Path) -> None:
    tracker = JsonlTracker(tmp_path / "metrics.jsonl")
    tracker.log({"train/loss": 0.5, "train/lr": 1e-3}, step=2)
    tracker.log({"eval/held/accuracy_mean": 0.25}, step=2)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert lines[0] == '{"step": 2, "train/loss": 0.5, "train/lr": 0.001}'
    assert [json.loads(line) for line in lines] == read_metrics(tmp_path)
    assert tracker.tracker == tmp_path / "metrics.jsonl"


def test_a_line_cut_anywhere_is_left_out(tmp_path: Path) -> None:
    log(tmp_path, range(1, 4))
    whole = (tmp_path / "metrics.jsonl").read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for end in range(last, len(whole) - 1):  # without the closing brace
        (tmp_path / "metrics.jsonl").write_bytes(whole[:end])
        assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2]


def test_truncating_drops_later_steps_and_the_cut_line(tmp_path: Path) -> None:
    log(tmp_path, range(1, 7))
    whole = (tmp_path / "metrics.jsonl").read_text()
    (tmp_path / "metrics.jsonl").write_text(whole[:-9])
    truncate_metrics(tmp_path, 4)
    assert (tmp_path / "metrics.jsonl").read_text() == "".join(whole.splitlines(keepends=True)[:4])
    log(tmp_path, range(5, 7))  # the resumed run logs them again
    assert (tmp_path / "metrics.jsonl").read_text() == whole
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_truncating_to_zero_and_nothing_at_all(tmp_path: Path) -> None:
    truncate_metrics(tmp_path, 0)
    assert read_metrics(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
    log(tmp_path, range(1, 3))
    truncate_metrics(tmp_path, 0)
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_a_loss_that_is_not_a_number_is_kept(tmp_path: Path) -> None:
    JsonlTracker(tmp_path / "metrics.jsonl").log({"train/loss": math.nan}, step=1)
    truncate_metrics(tmp_path, 1)
    [row] = read_metrics(tmp_path)
    assert math.isnan(row["train/loss"])


def test_only_the_trackers_of_the_config_write(tiny_config: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for chosen, names in (("[]", []), ("[jsonl]", ["metrics.jsonl"])):
        accelerator = Accelerator(cpu=True)
        start_trackers(accelerator, load_config(tiny_config, [f"train.trackers={chosen}"]))
        accelerator.log({"train/loss": 0.5}, step=3)
        accelerator.end_training()
        assert [p.name for p in (tmp_path / "run").iterdir()] == names
    assert read_metrics(tmp_path / "run") == [{"step": 3, "train/loss": 0.5}]


def test_a_tracker_that_is_not_installed_is_told_before_anything_is_read() -> None:
    with pytest.raises(UserError, match=r"^train\.trackers: clearml is not installed; pip install clearml, or take it"):
        require_trackers(["jsonl", "clearml"])
    require_trackers(["jsonl", "tensorboard"])


def test_options_are_of_a_tracker_that_is_there(tiny_config: Path) -> None:
    with pytest.raises(UserError, match=r"train: tracker_options: wandb is none of the trackers; add it to them"):
        load_config(tiny_config, ["train.tracker_options={wandb: {project: mine}}"])
    with pytest.raises(UserError, match=r"train\.trackers\.0: 'wandbb' is not one of .*; did you mean wandb\?"):
        load_config(tiny_config, ["train.trackers=[wandbb]"])


def test_no_tracker_is_shown_the_logins_of_others(tiny_config: Path) -> None:
    secret = "train.tracker_options={comet_ml: {api_key: SECRET}}"
    config = load_config(tiny_config, ["train.trackers=[comet_ml, wandb]", secret])
    shown = settings_of(config)
    assert shown["train.steps"] == config.train.steps
    assert "SECRET" not in str(shown)
    assert not [key for key in shown if "tracker_options" in key]


@pytest.mark.slow
def test_trackio_holds_what_the_run_logged(tiny_config: Path, tmp_path: Path) -> None:
    """The library itself, on a folder of its own: its project and run by name, the config, every step."""
    pytest.importorskip("trackio")
    overrides = ["train.steps=3", "train.log_every=1", "train.trackers=[jsonl, trackio]"]
    overrides += ["train.tracker_options={trackio: {project: mine, auto_log_cpu: false}}"]
    environment = os.environ | {"TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "xmodal", "train", str(tiny_config), *overrides]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    [file] = (tmp_path / "trackio").glob("mine*.db")
    with closing(sqlite3.connect(file)) as database:
        rows = database.execute("select run_name, step, metrics from metrics order by step").fetchall()
    ours = {row["step"]: row["train/loss"] for row in read_metrics(tmp_path / "run") if "train/loss" in row}
    logged = [(step, json.loads(values)) for _, step, values in rows]
    theirs = {step: values["train/loss"] for step, values in logged if "train/loss" in values}
    assert theirs == pytest.approx(ours)
    assert sorted(theirs) == [1, 2, 3]
    assert {name for name, *_ in rows} == {"run"}
