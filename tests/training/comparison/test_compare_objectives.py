"""Real comparisons of tiny runs: finished ones are read, tested once, the table worked out again; a kill; budgets."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from test_request import asked, with_dev

from xmodal.config.load import load_config
from xmodal.encoding.loading import names_outside_code
from xmodal.errors import UserError
from xmodal.evaluation.statistics.drawn_interval import drawn_interval
from xmodal.report.report import read_report
from xmodal.runs.metrics_file import read_metrics
from xmodal.training.comparison import calibrate, outcomes
from xmodal.training.comparison.calibrate import seconds_of_a_step
from xmodal.training.comparison.compare_objectives import claim, compare_objectives
from xmodal.training.comparison.outcomes import mean_curve
from xmodal.training.comparison.plan import make_plan
from xmodal.training.sweeps.sweep import overrides_of
from xmodal.training.trainer import Trainer

STEPS = 2
TEST = "held/accuracy_mean"


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def bare_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs without what takes most of a tiny one's time: pictures in their reports."""
    monkeypatch.setattr("xmodal.evaluation.classification.intent_report.show", lambda *_: None)
    monkeypatch.setattr("xmodal.evaluation.runs.run_report.training_curves", lambda *_, **__: {})


@pytest.mark.usefixtures("bare_runs")
def test_finished_runs_are_tested_once_and_the_table_is_right(tiny_config: Path, tmp_path: Path) -> None:
    out = tmp_path / "which"
    given = {"dev": ["dev"], "seeds": 2, "budget": f"{STEPS}steps", "output": out}
    grid = ("kernel.perplexity=2,6",)
    request = asked(with_dev(tiny_config), "infonce", "cwcl:perplexity", grid=grid, **given)
    plan = make_plan(request)
    claim(plan)
    runs = {each: [plan.run_of(each, seed, STEPS) for seed in plan.seeds] for each in plan.candidates}
    for run in (run for planned in runs.values() for run in planned):
        Trainer(load_config(tiny_config, overrides_of(run, 1))).fit()
        assert list(load_config(run.folder / "config.yaml", saved=True).evaluators) == ["dev"]  # never the test
    report, folder = compare_objectives(request)
    assert folder == out / "report"

    dev = {
        each: np.mean([read_report(run.folder / "report").value("dev/accuracy_prompt") for run in planned])
        for each, planned in runs.items()
    }
    chosen = {}
    for each in plan.candidates:  # of equals the first
        if dev[each] > dev.get(chosen.get(each.objective), -1):
            chosen[each.objective] = each
    tested = {path.parent.parent for path in out.rglob("test/report.json")}
    assert tested == {run.folder for each in chosen.values() for run in runs[each]}  # nothing else saw the test

    hits, clusters = {}, None
    for name, each in chosen.items():
        frames = [read_report(run.folder / "test").predictions for run in runs[each]]
        frames = [f[f["protocol"] == "accuracy_mean"].sort_values("item") for f in frames]
        hits[name] = np.stack([f["correct"].to_numpy(float) for f in frames])
        clusters = frames[0]["cluster"].to_numpy()
    table = report.tables["Objectives"].set_index("objective")
    for name, each in chosen.items():
        assert report.value(TEST, name) == pytest.approx(hits[name].mean())
        assert table.loc[name, "dev: dev/accuracy_prompt"] == pytest.approx(dev[each])
        assert table.loc[name, "setting"] == (each.setting or "as given")
        assert table.loc[name, "steps"] == STEPS
        took = [json.loads((run.folder / "training.json").read_text())["training_seconds"] for run in runs[each]]
        assert min(took) > 0
        assert table.loc[name, "seconds"] == pytest.approx(np.mean(took), abs=0.051)  # a tenth of a second
        assert 50 < table.loc[name, "peak memory (MB)"] < 20_000
    assert table.loc["cwcl:perplexity", "effective positives"] > table.loc["infonce", "effective positives"] >= 1
    difference = next(r for r in report.records if r.name == f"cwcl:perplexity/{TEST} minus infonce")
    apart = hits["cwcl:perplexity"] - hits["infonce"]
    assert difference.value == pytest.approx(apart.mean())
    expected = drawn_interval(apart, clusters, bounds=(-1, 1))
    assert (difference.low, difference.high) == pytest.approx(expected, abs=0.05)  # the items' order differs
    assert report.answer[0].startswith(TEST)
    assert report.answer[0].endswith("intervals of 95%, of one comparison, so not corrected.")
    assert len(report.tables["Every setting on dev"]) == len(plan.candidates)
    assert list(report.figures) == ["Quality against seconds of training"]
    assert (folder / "report.html").is_file()
    assert (folder / "report.md").is_file()

    before = times(out / "runs")
    again, _ = compare_objectives(request)
    assert times(out / "runs") == before  # nothing trained, nothing tested again
    assert [r.as_json() for r in again.records] == [r.as_json() for r in report.records]
    with pytest.raises(UserError, match=r"which: holds a comparison with seeds: 2, now 3; go on as it began"):
        compare_objectives(request.model_copy(update={"seeds": 3}))
    with pytest.raises(UserError, match=r"holds a comparison with config.optim.lr: 0.003, now 0.1"):
        compare_objectives(request.model_copy(update={"overrides": ("optim.lr=0.1",)}))
    saved = runs[chosen["infonce"]][0].folder / "config.yaml"
    saved.write_text(saved.read_text().replace("lr: 0.003", "lr: 0.004"))
    with pytest.raises(UserError, match=r"infonce-\S+ holds a run of another config, optim.lr: 0.004 -> 0.003; move"):
        compare_objectives(request)
    metrics = [read_metrics(run.folder) for run in runs[chosen["infonce"]]]
    curve = mean_curve(metrics, ["dev/accuracy_prompt"])
    assert len(curve) == STEPS
    assert [seconds for seconds, _ in curve] == sorted(seconds for seconds, _ in curve)
    assert curve[-1][1] == pytest.approx(dev[chosen["infonce"]])


def test_code_from_outside_is_trusted_where_the_request_names_it(
    tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(asked(tiny_config, "infonce", "cwcl", output=tmp_path / "which"))
    config = load_config(tiny_config)
    text = config.towers["text"].model_copy(update={"trust_remote_code": True})
    trusting = config.model_copy(update={"towers": {**config.towers, "text": text}})
    own = config.towers["text"].model_copy(update={"kind": "my_package.towers:MyTower"})
    monkeypatch.setattr(outcomes, "build_evaluators", lambda config: {})
    given = []

    def load_or_stop(run, trust_remote_code):  # type: ignore[no-untyped-def]
        given.append(trust_remote_code)
        raise UserError("seen")

    monkeypatch.setattr(outcomes, "load", load_or_stop)
    for each in (config, trusting):
        monkeypatch.setattr(outcomes, "load_config", lambda *_, each=each: each)
        with pytest.raises(UserError, match="seen"):
            outcomes.test_once(plan, {plan.candidates[0]: [tmp_path / "run"]})
    assert given == [False, True]
    assert names_outside_code(config.model_copy(update={"towers": {"text": own}}))


def test_a_candidate_that_came_later_is_timed(
    tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SupCon was left out for want of labels; the others keep the steps they had."""
    plan = make_plan(asked(tiny_config, "infonce", "siglip", "supcon", budget="8s", output=tmp_path))
    (tmp_path / "steps.json").write_text('{"infonce": 40, "siglip": 30}')
    timed = []

    def time_it(plan, steps, jobs, threads):  # type: ignore[no-untyped-def]
        timed.extend(each.objective for each in steps)
        return dict.fromkeys(steps, 0.5)

    monkeypatch.setattr(calibrate, "_time", time_it)
    for _ in range(2):
        assert calibrate.steps_of(plan, 1, 1) == {"infonce": 40, "siglip": 30, "supcon": 16}
    assert timed == ["supcon"]
    (tmp_path / "steps.json").write_text('{"infonce": 40, "siglip": 30}')
    monkeypatch.setattr(calibrate, "_time", lambda *_: {})  # its loss diverged
    assert calibrate.steps_of(plan, 1, 1) == {"infonce": 40, "siglip": 30, "supcon": 30}


def test_seconds_count_training_alone_and_over_resumes(tiny_config: Path, tmp_path: Path) -> None:
    """The evaluators take longer than eight tiny steps; a resumed run goes on with the seconds it had."""
    common = ["train.steps=8", "train.save_every=4", "train.log_every=1", "train.trackers=[jsonl]"]
    broken = Trainer(load_config(tiny_config, [*common, "train.eval_every=2"]))
    step, made = broken.stepper.step, []

    def step_or_die(batch):  # type: ignore[no-untyped-def]
        made.append(batch)
        if len(made) == 7:
            raise KeyboardInterrupt
        return step(batch)

    broken.stepper.step = step_or_die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        broken.fit()
    at_four = next(row["train/seconds"] for row in read_metrics(tmp_path / "run") if row["step"] == 4)
    began = time.perf_counter()
    Trainer(load_config(tiny_config, [*common, "train.eval_every=2", "train.resume=true"])).fit()
    whole = time.perf_counter() - began
    rows = {row["step"]: row["train/seconds"] for row in read_metrics(tmp_path / "run")}
    assert [rows[n] for n in range(1, 9)] == sorted(rows[n] for n in range(1, 9))
    assert rows[4] == at_four
    assert at_four < rows[5]
    assert rows[8] - rows[4] < whole
    facts = json.loads((tmp_path / "run" / "training.json").read_text())
    assert facts["training_seconds"] == pytest.approx(rows[8], abs=1e-3)


def test_a_step_is_timed_by_the_median_window(tmp_path: Path) -> None:
    seconds = {2: 50.0, 4: 60.0, 10: 61.2, 15: 69.0, 20: 70.0}  # the first steps are slow, and one is disturbed
    rows = [{"step": step, "train/loss": 1.0, "train/seconds": value} for step, value in seconds.items()]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert seconds_of_a_step(tmp_path) == pytest.approx(0.2)


COMMAND = ["--objectives", "infonce", "cwcl:perplexity", "--seeds", "2", "--dev", "dev", "--jobs", "2"]


@pytest.mark.slow
def test_killed_between_runs_the_same_command_goes_on(tiny_config: Path, tmp_path: Path) -> None:
    out = tmp_path / "which"
    command = [sys.executable, "-m", "xmodal", "compare-objectives", str(with_dev(tiny_config)), *COMMAND]
    command += ["--budget", "1s", "--output", str(out), "--set", "optim.lr=1e-2"]
    first = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list(out.glob("runs/*/report/report.json")) and time.monotonic() < deadline:
        time.sleep(0.2)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    finished = [path.parent.parent for path in out.glob("runs/*/report/report.json")]
    assert 1 <= len(finished) < 4
    steps = json.loads((out / "steps.json").read_text())
    assert steps.keys() == {"infonce", "cwcl_perplexity"}
    before = [times(folder) for folder in finished]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for known in before:
        assert {path: path.stat().st_mtime_ns for path in known} == known
    assert json.loads((out / "steps.json").read_text()) == steps
    report = read_report(out / "report")
    assert {r.dataset for r in report.records} == {"infonce", "cwcl:perplexity"}
    assert "held/accuracy_mean" in done.stdout
    assert not (out / "timing").exists()


@pytest.mark.slow
def test_an_objective_that_diverges_is_left_out(tiny_config: Path, tmp_path: Path) -> None:
    wrong = "{kind: infonce, learnable: false, temperature: 1.0e-30, max_scale: 1.0e+38}"
    given = {"seeds": 1, "budget": "4steps", "output": tmp_path / "which", "overrides": ["train.trackers=[]"]}
    request = asked(tiny_config, "infonce", "siglip", wrong, **given)
    report, _ = compare_objectives(request, jobs=2)
    left = report.tables["Left out"]
    assert len(left) == 1
    assert "is not finite" in left["why"].iloc[0]
    assert {r.dataset for r in report.records} == {"infonce", "siglip"}
    assert any(note.startswith("one seed") for note in report.notes)
    assert any(note.startswith("no dev split") for note in report.notes)
