"""Sweeps: the plan, mistakes found before anything trains, and a real one whose table is computed again by hand."""

import json
import math
import os
from pathlib import Path

import pandas as pd
import pytest
import yaml

from xmodal.config.load import load_config
from xmodal.errors import UserError
from xmodal.report.report import Record, Report
from xmodal.runs.folder import open_run
from xmodal.training.sweeps.plan import Planned, Sweep, plan, read_sweep
from xmodal.training.sweeps.sweep import overrides_of, run_sweep
from xmodal.training.sweeps.sweep_report import gather
from xmodal.training.trainer import Trainer

ROOT = Path(__file__).parents[2]
METRIC = "held/accuracy_prompt"
QUICK = ["train.steps=6", "train.trackers=[]", "optim.lr=1e-2"]


def content(config: Path, tmp_path: Path) -> dict:
    """Two objectives, two seeds."""
    return {
        "config": os.path.relpath(config, tmp_path),
        "output": str(tmp_path / "sweep"),
        "axes": {
            "objective": {"CL": ["objective.kind=infonce", *QUICK], "CWCL (ours)": ["objective.kind=cwcl", *QUICK]},
            "seed": {"0": ["seed=0"], "1": ["seed=1"]},
        },
        "over": "seed",
        "baseline": "CL",
        "metrics": [METRIC, "held/accuracy_mean"],
    }


def write(path: Path, values: dict) -> Path:
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def sweep_of(axes: dict[str, dict[str, list[str]]], *over: str) -> Sweep:
    return Sweep(config=Path("c.yaml"), output=Path("out"), axes=axes, over=over or ("seed",), metrics=(METRIC,))


def test_the_plan_is_every_combination_repeats_together() -> None:
    axes = {
        "seed": {"0": ["seed=0"], "1": ["seed=1"]},
        "loss": {"CL": ["objective.kind=infonce"], "CWCL/4": ["objective.kind=cwcl", "objective.kernel.kind=power"]},
        "width": {"wide": ["towers.speech.width=32"], "plain": []},
    }
    found = plan(sweep_of(axes))
    assert [(p.setting, p.repeat) for p in found] == [
        ("CL, wide", "0"), ("CL, wide", "1"), ("CL, plain", "0"), ("CL, plain", "1"),
        ("CWCL/4, wide", "0"), ("CWCL/4, wide", "1"), ("CWCL/4, plain", "0"), ("CWCL/4, plain", "1"),
    ]  # fmt: skip
    overrides = ("objective.kind=cwcl", "objective.kernel.kind=power", "towers.speech.width=32", "seed=1")
    assert found[5] == Planned("CWCL/4, wide", ("1",), Path("out/cwcl_4_wide-1"), overrides)
    assert len({p.folder for p in found}) == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"over": "speaker"}, r"s\.yaml: over: 'speaker' is not one of the axes \(objective, seed\)"),
        ({"over": ["seed", "speaker"]}, r"s\.yaml: over: 'speaker' is not one of the axes \(objective, seed\)"),
        ({"over": []}, r"s\.yaml: over: "),
        ({"over": ["seed", "seed"]}, r"s\.yaml: over: 'seed' stands there twice; name it once"),
        ({"metrics": [METRIC, METRIC]}, r"s\.yaml: metrics: 'held/accuracy_prompt' stands there twice; name it once"),
        (
            {"axes": {"seed": {"0": ["output=elsewhere"]}}, "baseline": None},
            r"s\.yaml: axes\.seed\.0: 'output=elsewhere': a sweep sets it itself; take it out",
        ),
        ({"baseline": "CLIP"}, r"s\.yaml: baseline: 'CLIP' is not one of the settings \(CL, CWCL \(ours\)\)"),
        ({"metric": ["a/b"]}, r"s\.yaml: metric: unknown key; did you mean metrics\?"),
        ({"axes": {"seed": ["seed=0"]}}, r"s\.yaml: axes\.seed: .*must be a mapping"),
        ({"metrics": "held/accuracy"}, r"s\.yaml: metrics: 'held/accuracy' must be a list"),
    ],
)
def test_a_wrong_sweep_file(tiny_config: Path, tmp_path: Path, change: dict, message: str) -> None:
    path = write(tmp_path / "s.yaml", content(tiny_config, tmp_path) | change)
    with pytest.raises(UserError, match=message):
        read_sweep(path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: no such file"):
        read_sweep(tmp_path / "none.yaml")
    (tmp_path / "s.yaml").write_text("config: [")
    with pytest.raises(UserError, match=r"s\.yaml: line 1, column 10: "):
        read_sweep(tmp_path / "s.yaml")
    (tmp_path / "s.yaml").write_text("")
    with pytest.raises(UserError, match=r"s\.yaml: empty, expected the keys of a sweep"):
        read_sweep(tmp_path / "s.yaml")


def test_every_mistake_is_a_line(tiny_config: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "s.yaml", content(tiny_config, tmp_path) | {"metric": [], "resample": "maybe", "over": 3})
    with pytest.raises(UserError) as error:
        read_sweep(path)
    assert sorted(str(error.value).split("\n")) == [
        f"{path}: metric: unknown key; did you mean metrics?",
        f"{path}: over.0: 3 must be text (put quotes around it)",
        f"{path}: resample: 'maybe' must be true or false",
    ]
    path = write(
        path, content(tiny_config, tmp_path) | {"baseline": "CLIP", "metrics": ["a", "held/accuracy_mean", "b/c"]}
    )
    with pytest.raises(UserError) as error:
        read_sweep(path)
    assert [line.split(":")[1] for line in str(error.value).split("\n")] == [" baseline", " metrics", " metrics"]


def test_a_metric_without_its_evaluator(tiny_config: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "s.yaml", content(tiny_config, tmp_path) | {"metrics": ["accuracy_prompt"]})
    with pytest.raises(UserError, match="metrics: 'accuracy_prompt'"):
        read_sweep(path)


def test_settings_whose_folders_would_be_one(tiny_config: Path, tmp_path: Path) -> None:
    values = content(tiny_config, tmp_path) | {"baseline": None}
    values["axes"]["objective"] = {"CWCL (4)": ["objective.kind=cwcl"], "CWCL [4]": ["objective.kind=infonce"]}
    with pytest.raises(UserError, match="CWCL"):
        read_sweep(write(tmp_path / "s.yaml", values))


def test_a_wrong_override_is_found_before_anything_trains(tiny_config: Path, tmp_path: Path) -> None:
    values = content(tiny_config, tmp_path)
    values["axes"]["seed"]["1"] = ["sed=1", "train.steps=0"]
    sweep = read_sweep(write(tmp_path / "s.yaml", values))
    with pytest.raises(UserError) as error:
        run_sweep(sweep)
    lines = str(error.value).splitlines()
    mistakes = ["sed: unknown key; did you mean seed?", "train.steps: 0 must be at least 1"]
    assert sorted(lines) == [f"{run}, 1: command line: {line}" for run in ("CL", "CWCL (ours)") for line in mistakes]
    assert not sweep.output.exists()


@pytest.mark.slow
def test_a_real_sweep_and_its_table_by_hand(tiny_config: Path, tmp_path: Path) -> None:
    sweep = read_sweep(write(tmp_path / "s.yaml", content(tiny_config, tmp_path)))
    report = run_sweep(sweep, jobs=2)
    runs = {("CL", "0"): "cl-0", ("CL", "1"): "cl-1", ("CWCL (ours)", "0"): "cwcl_ours_-0"}
    runs |= {("CWCL (ours)", "1"): "cwcl_ours_-1"}
    assert {p.name for p in sweep.output.iterdir()} == {n for r in runs.values() for n in (r, f"{r}.log")}
    hits: dict[tuple[str, str, str], dict[str, bool]] = {}
    for (setting, seed), name in runs.items():
        config = load_config(sweep.output / name / "config.yaml")
        assert (config.seed, config.objective.kind) == (int(seed), "infonce" if setting == "CL" else "cwcl")
        frame = pd.read_parquet(sweep.output / name / "report" / "predictions.parquet")
        for metric in sweep.metrics:
            mine = frame[frame["protocol"] == metric.split("/")[1]]
            assert len(mine) == 12
            assert (mine["correct"] == (mine["true"] == mine["predicted"])).all()
            hits[setting, seed, metric] = dict(zip(mine["item"], mine["correct"], strict=True))
    assert len({tuple(h.items()) for h in hits.values()}) > 2  # the runs do differ
    for metric in sweep.metrics:
        means = {key[:2]: sum(h.values()) / 12 for key, h in hits.items() if key[2] == metric}
        for setting in ("CL", "CWCL (ours)"):
            record = _record(report, setting, metric)
            assert record.value == pytest.approx((means[setting, "0"] + means[setting, "1"]) / 2)
            assert (record.n, record.context["repeats"], record.chance) == (24, 2, 0.25)
            worst = "0" if means[setting, "0"] <= means[setting, "1"] else "1"
            assert record.context["worst"] == f"{worst} ({means[setting, worst]:.3f})"
        ours, base = ([hits[s, seed, metric] for seed in "01"] for s in ("CWCL (ours)", "CL"))
        gaps = [int(a[item]) - int(b[item]) for a, b in zip(ours, base, strict=True) for item in a]
        record = _record(report, "CWCL (ours)", f"{metric} minus CL")
        assert record.value == pytest.approx(sum(gaps) / len(gaps))
        assert record.low <= record.value <= record.high
        assert record.n == 24
        shown = report.tables["every seed"].set_index(["metric", "setting"])
        for (setting, seed), mean in means.items():
            assert shown.loc[(metric, setting), seed] == pytest.approx(mean)
    assert len(report.records) == 6  # no difference of the baseline from itself
    logs = {file: file.read_bytes() for file in sweep.output.glob("*.log")}
    assert run_sweep(sweep).records == report.records
    assert {file: file.read_bytes() for file in sweep.output.glob("*.log")} == logs  # nothing was started again


def _record(report: Report, dataset: str, metric: str) -> Record:
    [record] = [r for r in report.records if (r.dataset, r.metric) == (dataset, metric)]
    return record


def finished(sweep: Sweep, correct: dict[str, list[bool]], items: list[str] | None = None) -> Sweep:
    """Reports of finished runs, as given; every sentence has two items."""
    for run in plan(sweep):
        hits = correct[run.folder.name]
        frame = pd.DataFrame(
            {
                "dataset": "held",
                "protocol": "accuracy_prompt",
                "item": items or [f"i{n}" for n in range(len(hits))],
                "cluster": [f"sentence {n // 2}" for n in range(len(hits))],
                "true": "a",
                "predicted": ["a" if hit else "b" for hit in hits],
                "score": 0.5,
                "correct": hits,
            }
        )
        Report(predictions=frame, notes=["TTS"]).write(run.folder / "report")
    return sweep


AXES = {"loss": {"CL": [], "CWCL": []}, "speaker": {"ann": [], "bob": []}}
T, F = True, False


SIX = ["ann", "bob", "cid", "dan", "eve", "fay"]


def test_resampling_repeats_or_sentences(tmp_path: Path) -> None:
    axes = {"loss": {"CL": [], "CWCL": []}, "speaker": {name: [] for name in SIX}}
    sweep = sweep_of(axes, "speaker").model_copy(update={"output": tmp_path, "baseline": "CL"})
    # three speakers all right, three all wrong: they are all the spread there is, and every sentence is half right
    given = {f"cl-{name}": [F] * 4 for name in SIX} | {f"cwcl-{name}": [i % 2 == 0] * 4 for i, name in enumerate(SIX)}
    report = gather(finished(sweep, given))
    record = _record(report, "CWCL", METRIC)
    alike = math.sqrt(0.025)  # two sentences alike: up to 1 - alike of others may be otherwise
    assert (record.value, record.low, record.high) == pytest.approx((0.5, alike / 2, alike / 2 + 1 - alike))
    assert record.context["worst"] == "bob (0.000)"
    assert record.context["best"] == "ann (1.000)"
    assert report.notes == ["TTS", "n counts an item once in every speaker that tested it"]
    report = gather(sweep.model_copy(update={"resample": True}))
    # right speakers among six drawn: none with 1/64 = 0.016, one or none with 7/64; the limit is at 0.0024
    record = _record(report, "CWCL", METRIC)
    assert (record.value, record.low, record.high) == (0.5, 0, 1)
    difference = _record(report, "CWCL", f"{METRIC} minus CL")
    assert (difference.value, difference.low, difference.high) == (0.5, 0, 1)


def test_folds_of_unequal_size_weigh_by_their_items(tmp_path: Path) -> None:
    """Value, interval and difference mean the same: every item counts alike."""
    axes = {"loss": {"CL": [], "CWCL": []}, "speaker": {name: [] for name in SIX}}
    sweep = sweep_of(axes, "speaker").model_copy(update={"output": tmp_path, "baseline": "CL", "resample": True})
    sizes = [40, 2, 2, 2, 2, 2]
    right = [T, F, F, F, F, F]  # by items 40 of 50, by speakers 1 of 6
    given = {f"cwcl-{name}": [hit] * n for name, hit, n in zip(SIX, right, sizes, strict=True)}
    given |= {f"cl-{name}": [F] * n for name, n in zip(SIX, sizes, strict=True)}
    report = gather(finished(sweep, given))
    record, difference = _record(report, "CWCL", METRIC), _record(report, "CWCL", f"{METRIC} minus CL")
    assert record.value == difference.value == 0.8
    assert (record.low, record.high) == pytest.approx((difference.low, difference.high))
    # a resample holds ann j times of six: 40 j of 40 j + 2 (6 - j) are right; never with (5/6)^6 = 0.33; j = 5 and
    # more with 31/6^6 = 0.0007, j = 4 and more with 0.0087, so that the limit at 0.0024 is j = 4
    assert (record.low, record.high) == pytest.approx((0, 160 / 164))
    assert record.context["worst"] == "bob (0.000)"


def test_folds_under_several_seeds_resample_the_folds(tmp_path: Path) -> None:
    """Twelve runs a setting, six speakers under two seeds: the speakers are the sample, as with one seed."""
    axes = {"loss": {"CL": [], "CWCL": []}, "seed": {"0": [], "1": []}, "speaker": {name: [] for name in SIX}}
    sweep = sweep_of(axes, "speaker", "seed").model_copy(
        update={"output": tmp_path, "baseline": "CL", "resample": True}
    )
    assert [run.repeat for run in plan(sweep)][:3] == ["ann, 0", "ann, 1", "bob, 0"]
    right = {name: i % 2 == 0 for i, name in enumerate(SIX)}
    given = {f"cwcl-{name}_{seed}": [hit] * 4 for name, hit in right.items() for seed in "01"}
    report = gather(finished(sweep, given | {f"cl-{name}_{seed}": [F] * 4 for name in SIX for seed in "01"}))
    record, difference = _record(report, "CWCL", METRIC), _record(report, "CWCL", f"{METRIC} minus CL")
    assert (record.value, record.low, record.high, record.n) == (0.5, 0, 1, 48)
    assert (difference.value, difference.low, difference.high, difference.n) == (0.5, 0, 1, 48)
    assert (record.context["worst"], record.context["intervals_resample"]) == ("bob, 0 (0.000)", "speaker")
    shown = report.tables["every speaker, seed"].set_index(["metric", "setting"])
    assert shown.loc[(METRIC, "CWCL")].to_dict() == {f"{n}, {s}": float(hit) for n, hit in right.items() for s in "01"}


@pytest.mark.parametrize("name", ["setting", "metric", "value", "chance", "n", "repeat"])
def test_an_axis_may_be_called_as_it_likes(tmp_path: Path, name: str) -> None:
    sweep = sweep_of({"loss": {"CL": [], "CWCL": []}, name: {"a": [], "b": []}}, name)
    sweep = sweep.model_copy(update={"output": tmp_path})
    given = {"cl-a": [T, F], "cl-b": [F, F], "cwcl-a": [T, T], "cwcl-b": [T, F]}
    shown = gather(finished(sweep, given)).tables[f"every {name}"]
    assert shown.set_index("setting")[["a", "b"]].to_dict("index") == {
        "CL": {"a": 0.5, "b": 0.0}, "CWCL": {"a": 1.0, "b": 0.5},
    }  # fmt: skip


def test_runs_over_other_items_are_not_subtracted(tmp_path: Path) -> None:
    sweep = sweep_of(AXES, "speaker").model_copy(update={"output": tmp_path, "baseline": "CL"})
    given = {name: [T, F, T, F] for name in ("cl-ann", "cl-bob", "cwcl-ann")} | {"cwcl-bob": [T, F, T]}
    with pytest.raises(UserError, match="CWCL and CL were not tested on the same items"):
        gather(finished(sweep, given))


def test_a_metric_that_no_run_has(tmp_path: Path) -> None:
    sweep = sweep_of(AXES, "speaker").model_copy(update={"output": tmp_path, "metrics": ("held/accuracy_mean",)})
    given = {name: [T, F] for name in ("cl-ann", "cl-bob", "cwcl-ann", "cwcl-bob")}
    with pytest.raises(UserError, match=r"cl-ann: its report has no per-item outcomes for 'held/accuracy_mean'"):
        gather(finished(sweep, given))


def test_a_metric_that_is_not_there_is_told_before_anything_trains(tiny_config: Path, tmp_path: Path) -> None:
    values = content(tiny_config, tmp_path) | {"metrics": ["held/accuracy_meen"]}
    sweep = read_sweep(write(tmp_path / "s.yaml", values))
    with pytest.raises(UserError, match=r"no metric 'accuracy_meen' in held; expected one of accuracy_mean, "):
        run_sweep(sweep)
    assert not sweep.output.exists()


def test_a_run_that_fails_is_named_with_its_log(tiny_config: Path, tmp_path: Path) -> None:
    values = content(tiny_config, tmp_path) | {"baseline": None}
    values["axes"] = {"rate": {"huge": ["data.train=nowhere.jsonl"]}, "seed": {"0": []}}
    sweep = read_sweep(write(tmp_path / "s.yaml", values))
    with pytest.raises(UserError, match=r"huge-0: training failed with exit code 2: .*nowhere\.jsonl.*huge-0\.log"):
        run_sweep(sweep)


def test_a_run_of_an_earlier_state_of_the_file_is_told_before_any_trains(tiny_config: Path, tmp_path: Path) -> None:
    values = content(tiny_config, tmp_path)
    sweep = read_sweep(write(tmp_path / "s.yaml", values))
    there = plan(sweep)[1]
    open_run(load_config(sweep.config, overrides_of(there, 1)))
    (there.folder / "model.safetensors").touch()  # trained
    values["axes"]["objective"]["CL"][-1] = "optim.lr=5e-3"
    with pytest.raises(
        UserError, match=r"^CL, 1: .*cl-1: was trained with another optim\.lr: 0\.01 -> 0\.005; give"
    ) as e:
        run_sweep(read_sweep(write(tmp_path / "s.yaml", values)))
    assert "\n" not in str(e.value)
    assert [p.name for p in sweep.output.iterdir()] == ["cl-1"]


def test_threads_named_by_an_axis_are_kept(tiny_config: Path) -> None:
    axes = {"threads": {"named": ["train.threads=3"], "left out": []}, "seed": {"0": []}}
    found = [load_config(tiny_config, overrides_of(run, 2)).train.threads for run in plan(sweep_of(axes))]
    assert found == [3, 2]


def test_an_axis_that_takes_away_what_is_measured(tiny_config: Path, tmp_path: Path) -> None:
    values = content(tiny_config, tmp_path)
    values["axes"]["objective"]["CL"] = ["evaluators.held=null"]
    with pytest.raises(UserError, match=r"CL, 0: evaluators\.held: it is taken away, and metrics name it"):
        run_sweep(read_sweep(write(tmp_path / "s.yaml", values)))


@pytest.mark.slow
def test_finished_runs_are_not_trained_again_with_other_jobs(tiny_config: Path, tmp_path: Path) -> None:
    values = content(tiny_config, tmp_path) | {"baseline": None}
    values["axes"] = {"loss": {"CL": ["train.steps=2"]}, "seed": {"0": []}}
    sweep = read_sweep(write(tmp_path / "s.yaml", values))
    [run] = plan(sweep)
    Trainer(
        load_config(tiny_config, [*run.overrides, f"output={run.folder}", "train.threads=1"])
    ).fit()  # as of many jobs
    before = {p: p.stat().st_mtime_ns for p in run.folder.rglob("*") if p.is_file()}
    written = json.loads((run.folder / "report" / "report.json").read_text())["records"]
    report = run_sweep(sweep, jobs=1)  # so with every thread of the machine
    assert {p: p.stat().st_mtime_ns for p in before} == before
    [value] = [r["value"] for r in written if r["metric"] == "accuracy_prompt"]
    assert report.value(METRIC, "CL") == pytest.approx(value)


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "sweeps").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_sweep_of_the_repository_loads(path: Path) -> None:
    sweep = read_sweep(path)
    planned = plan(sweep)
    assert len({run.folder for run in planned}) == len(planned)
    assert len(planned) == len({(run.setting, run.repeat) for run in planned})
    configs = [load_config(sweep.config, [*run.overrides, f"output={run.folder}"]) for run in planned]
    for config in configs:
        assert all(metric.split("/")[0] in config.evaluators for metric in sweep.metrics)
    texts = {config.model_dump_json(exclude={"output"}) for config in configs}
    assert len(texts) == len(planned)  # no two runs are the same
