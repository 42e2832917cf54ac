"""Classification by folds: what is trained on, what each fold comes to, and folds that are not there."""

from pathlib import Path

import numpy as np
import pytest
import torch
from intent_table import ByTable, write
from sklearn.linear_model import LogisticRegression

from xmodal.errors import UserError
from xmodal.evaluation.folds.folds import Folds
from xmodal.evaluation.statistics.metrics import bootstrap_interval
from xmodal.report.reading.headline import answer
from xmodal.report.report import Report

SOUNDS = ("dog", "rain", "siren")


def corpus(tmp_path: Path, folds: int = 4, each: int = 6) -> ByTable:
    """Three classes around three directions, none of them the prompts' own; of fold 1 rain and siren are swapped."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((3, 6))
    vectors, rows = {}, []
    for fold in range(1, folds + 1):
        for at in range(3 * each):
            label = at % 3
            z = centres[(0, 2, 1)[label] if fold == 1 else label] + 0.3 * rng.standard_normal(6)
            name = f"{fold}-{at}"
            vectors[f"{name}.wav"] = torch.tensor(z / np.linalg.norm(z), dtype=torch.float32)
            rows.append({"id": name, "audio": f"{name}.wav", "label": SOUNDS[label], "fold": fold, "take": at // 2})
    for label, z in zip(SOUNDS, centres, strict=True):
        near = z + 0.5 * rng.standard_normal(6)
        vectors[f"This is a sound of {label}."] = torch.tensor(near / np.linalg.norm(near), dtype=torch.float32)
    write(tmp_path / "all.jsonl", rows)
    return ByTable(vectors)


def folds(tmp_path: Path, **more: object) -> Folds:
    return Folds(Folds.Spec(test=tmp_path / "all.jsonl", **more))


def records(report: Report) -> dict:
    return {record.metric: record for record in report.records}


def test_prompts_and_folds_against_a_loop(tmp_path: Path) -> None:
    encoder = corpus(tmp_path)
    evaluator = folds(tmp_path, probes=("linear", "knn"))
    report = evaluator.evaluate(encoder, "esc")
    found, items = records(report), evaluator.test
    z = torch.stack([encoder.vectors[f"{name}.wav"] for name in items.names]).double().numpy()
    prompts = np.stack([encoder.vectors[f"This is a sound of {label}."].double().numpy() for label in SOUNDS])
    right = np.array(SOUNDS, dtype=object)[(z @ prompts.T).argmax(1)] == items.labels
    fold = items.further["fold"]
    of_folds = [right[fold == each].mean() for each in "1234"]
    assert found["acc1"].value == pytest.approx(right.mean())
    assert (found["acc1"].low, found["acc1"].high) == pytest.approx(bootstrap_interval(right))
    over = found["acc1_over_folds"]
    assert over.value == pytest.approx(np.mean(of_folds))
    assert (over.low, over.high) == pytest.approx(bootstrap_interval(of_folds))
    assert (over.context["worst_fold"], over.context["best_fold"]) == (min(of_folds), max(of_folds))
    assert (found["acc1"].chance, over.n, found["majority"].value) == (1 / 3, 72, pytest.approx(1 / 3))
    first, second = (sentence.text for sentence in answer(report.records).sentences)
    assert "of 72 recordings right among 3 classes (" in first
    assert "of a fold's recordings right among 3 classes, mean of 4 folds (" in second
    # what is learnt on three folds of which one is swapped is right on the others, and wrong on the swapped one
    for each in "1234":
        strength = dict(line.removeprefix("fold ").split(": ") for line in found["linear"].context["chosen"])[each]
        model = LogisticRegression(C=float(strength), max_iter=1000).fit(z[fold != each], items.labels[fold != each])
        guessed = model.predict(z[fold == each])
        rows = report.predictions[report.predictions["protocol"] == "linear"]
        assert list(rows["predicted"][fold == each]) == list(guessed)
    table = report.tables["esc: by fold"]
    of_linear = table[table["metric"] == "linear"].set_index("fold")["accuracy"]
    assert of_linear["1"] < 0.6 < of_linear[["2", "3", "4"]].min()
    assert found["linear_over_folds"].value == pytest.approx(of_linear.mean())
    assert {"knn", "knn_over_folds"} <= found.keys()
    assert {"esc: confusion (acc1)", "esc: confusion (linear)", "esc: confusion (knn)"} == report.figures.keys()
    assert list(report.tables["esc: per class (linear)"]["label"]) == list(SOUNDS)


def test_in_training_nothing_is_probed(tmp_path: Path) -> None:
    encoder = corpus(tmp_path)
    report = folds(tmp_path, cluster="take").evaluate(encoder, "esc", brief=True)
    assert records(report).keys() == {"acc1", "acc1_over_folds", "majority"}
    assert folds(tmp_path).metrics() == {"acc1", "acc1_over_folds"}
    assert not report.tables
    assert {record.context["clusters"] for record in report.records} == {"take"}


def test_two_folds_and_a_class_that_one_lacks(tmp_path: Path) -> None:
    encoder = corpus(tmp_path, folds=2)
    rows = [
        line for line in (tmp_path / "all.jsonl").read_text().splitlines() if '"label": "rain", "fold": 1' not in line
    ]
    (tmp_path / "all.jsonl").write_text("\n".join(rows) + "\n")
    report = folds(tmp_path).evaluate(encoder, "esc")
    rows_linear = report.predictions[report.predictions["protocol"] == "linear"]
    second = rows_linear[rows_linear["item"].str.startswith("2-")]
    assert "rain" in set(second["true"])
    assert "rain" not in set(second["predicted"])  # fold 1 has none to learn from


def test_the_folds_there_must_be(tmp_path: Path) -> None:
    encoder = corpus(tmp_path)
    lines = (tmp_path / "all.jsonl").read_text().splitlines()
    (tmp_path / "all.jsonl").write_text("\n".join(line for line in lines if '"fold": 3' not in line) + "\n")
    with pytest.raises(
        UserError, match=r"all\.jsonl: fold 3 has no items \(column 'fold' holds 1, 2, 4\); is the corp"
    ):
        folds(tmp_path)
    assert folds(tmp_path, folds=("1", "2", "4")).folds == ("1", "2", "4")
    with pytest.raises(UserError, match=r"fold 4 is none of folds \(1, 2\); add it"):
        folds(tmp_path, folds=("1", "2"))
    with pytest.raises(UserError, match=r"missing column 'take2'"):
        folds(tmp_path, fold="take2")
    (tmp_path / "all.jsonl").write_text("\n".join(lines).replace('"fold": 3', '"fold": 4000000000'))
    with pytest.raises(UserError, match=r"fold 3 has no items \(column 'fold' holds 1, 2, 4, 4000000000\)"):
        folds(tmp_path)  # and does not count up to it
    corpus(tmp_path, folds=1)
    with pytest.raises(UserError, match=r"all\.jsonl: one fold \(1\), expected two or more"):
        folds(tmp_path)
    corpus(tmp_path)
    encoder.vectors = {name: z for name, z in encoder.vectors.items() if not name.startswith("2-")}
    with pytest.raises(UserError, match=r"all\.jsonl: fold 2: none of its items can be read; mend them"):
        folds(tmp_path, max_bad=0.5).evaluate(encoder, "esc")


def test_real_folds_hold_whole_recordings(xmodal_data: Path) -> None:
    """ESC-10's folds keep the pieces of one recording together: none is learnt from and tested."""
    names = [path.stem.split("-") for path in (xmodal_data / "esc10").rglob("*.ogg")]
    if not names:
        pytest.skip("XMODAL_DATA holds no esc10")
    assert len(names) == 400
    folds_of: dict[str, set[str]] = {}
    for fold, recording, *_ in names:
        folds_of.setdefault(recording, set()).add(fold)
    assert {len(each) for each in folds_of.values()} == {1}
