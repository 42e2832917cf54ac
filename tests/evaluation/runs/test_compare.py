"""Two runs side by side: numbers against scipy, refusals by hand-made differences, the script from outside."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from xmodal.errors import UserError
from xmodal.evaluation.runs.compare import compare, compare_runs
from xmodal.report import Record, Report, read_report

ROOT = Path(__file__).parents[3]
LABELS = ["play_music", "stop_music", "turn_on_lights"]


def run(seed: int, share: float = 0.7, candidates=tuple(LABELS), protocol: str = "accuracy_mean") -> Report:
    """90 items in 30 sentences, the same items and labels at every seed."""
    rng = np.random.default_rng(seed)
    true = np.array(LABELS)[np.arange(90) % 3]
    predicted = np.where(rng.random(90) < share, true, np.array(LABELS)[(np.arange(90) + 1) % 3])
    predictions = pd.DataFrame(
        {
            "dataset": "heldout",
            "protocol": protocol,
            "item": [f"utterance {i:02}" for i in range(90)],
            "cluster": [f"sentence {i // 3}" for i in range(90)],
            "true": true,
            "predicted": predicted,
            "score": rng.random(90),
            "correct": true == predicted,
        }
    )
    value = float((true == predicted).mean())
    record = Record("heldout", protocol, value, n=90, chance=1 / 3, context={"candidates": list(candidates)})
    return Report([record], {"run": seed}, predictions, notes=["heldout: the speech is TTS", f"seed {seed}"])


def test_difference_and_interval():
    a, b = run(1, 0.9), run(2, 0.6)
    shuffled = Report(b.records, b.provenance, b.predictions.sample(frac=1, random_state=0))
    report = compare(a, shuffled, ("new", "old"))
    row = report.tables["Accuracy and difference"].iloc[0]
    hits_a, hits_b = (r.predictions["correct"].to_numpy(float) for r in (a, b))
    assert (row["n"], row["new"], row["old"]) == (90, hits_a.mean(), hits_b.mean())
    assert row["new - old"] == pytest.approx(hits_a.mean() - hits_b.mean())
    expected = stats.bootstrap(
        ((hits_a - hits_b).reshape(30, 3).mean(1),), np.mean, n_resamples=20000, method="percentile", rng=0
    ).confidence_interval
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high), abs=0.02)
    assert row["excludes 0"]
    assert report.value("accuracy_mean: new - old", "heldout") == pytest.approx(row["new - old"])


def test_items_answered_differently():
    a, b = run(1), run(2)
    [table] = [t for name, t in compare(a, b).tables.items() if name.startswith("Items")]
    apart = [
        (i, x, y)
        for i, x, y in zip(a.predictions["item"], a.predictions["predicted"], b.predictions["predicted"], strict=True)
        if x != y
    ]
    assert list(table[["item", "A", "B"]].itertuples(index=False, name=None)) == apart[:50]


def test_equal_runs_show_no_difference():
    report = compare(run(1), run(1))
    row = report.tables["Accuracy and difference"].iloc[0]
    rest = 1 - 0.025 ** (1 / 30)  # of other sentences, so much may differ: 30 sentences are no certainty
    assert (row["A - B"], row["excludes 0"]) == (0, False)
    assert (row["low"], row["high"]) == pytest.approx((-rest, rest))


def test_notes_stay_and_say_whose_they_are():
    notes = compare(run(1), run(2), ("cl", "cwcl")).notes
    assert notes == ["heldout: the speech is TTS", "cl: seed 1", "cwcl: seed 2"]


def test_what_only_one_run_has_is_named():
    both = run(1).merge(run(1, protocol="accuracy_prompt"))
    report = compare(both, run(2))
    assert len(report.tables["Accuracy and difference"]) == 1
    assert report.notes[-1] == "In A only, not compared: heldout/accuracy_prompt."


def change(report: Report, column: str, row: int, value: str) -> Report:
    report.predictions.loc[row, column] = value
    return report


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (change(run(2), "item", 7, "elsewhere"), "1 only in A .first 'utterance 07'. and 1 only in B .first 'elsewh"),
        (change(run(2), "true", 8, "play_music"), "true labels of 1 items differ, first 'utterance 08'"),
        (change(run(2), "cluster", 9, "other"), "clusters of 1 items differ, first 'utterance 09'"),
        (change(run(2), "item", 3, "utterance 04"), "1 items occur twice in its predictions, first 'utterance 04'"),
        (run(2, candidates=[*LABELS, "weather"]), "candidates differ .3 in A, 4 in B; 1 in one only, first 'weather'"),
        (run(2, protocol="accuracy_prompt"), "nothing to compare: A has heldout/accuracy_mean, B has heldout/acc"),
        (Report(), "B: its report has no per-item predictions"),
    ],
)
def test_refused(other, message):
    with pytest.raises(UserError, match=message):
        compare(run(1), other)


def test_unwritten_candidates_are_said():
    bare = run(2)
    bare.records = []
    assert "candidates are not written in both reports" in compare(run(1), bare).notes[-1]


def test_runs_keep_their_own_reports(tmp_path):
    for name, seed in (("cl", 1), ("cwcl", 2)):
        run(seed).write(tmp_path / name / "report")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    report, folder = compare_runs(tmp_path / "cl", tmp_path / "cwcl" / "report")
    assert folder == tmp_path / "cl" / "compare_cwcl"
    assert read_report(folder).records == report.records
    assert {p: p.read_bytes() for p in before} == before
    for taken in (tmp_path / "cl" / "report", tmp_path / "cwcl" / "report"):
        with pytest.raises(UserError, match="never overwritten"):
            compare_runs(tmp_path / "cl", tmp_path / "cwcl", taken)
    with pytest.raises(UserError, match="given twice"):
        compare_runs(tmp_path / "cl", tmp_path / "cl")
    compare_runs(tmp_path / "cl", tmp_path / "cwcl")  # an older comparison is replaced


def test_script(tmp_path):
    for name, seed in (("cl", 1), ("cwcl", 2)):
        run(seed).write(tmp_path / name / "report")
    command = [sys.executable, str(ROOT / "eval" / "compare.py")]
    done = subprocess.run(
        [*command, tmp_path / "cl", tmp_path / "cwcl", "--out", tmp_path / "both"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    header = " ".join(done.stdout.splitlines()[0].split())
    assert header == "dataset protocol n cl cwcl cl - cwcl low high excludes 0"
    assert done.stdout.splitlines()[-1] == f"{tmp_path}/both/report.html"
    assert (tmp_path / "both" / "report.html").is_file()
    failed = subprocess.run([*command, tmp_path / "cl", tmp_path / "nowhere"], capture_output=True, text=True)
    assert failed.returncode == 2
    assert failed.stderr.startswith(f"error: {tmp_path}/nowhere: no such folder")
    assert len(failed.stderr.splitlines()) == 1
