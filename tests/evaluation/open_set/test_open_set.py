"""None of these: items without a label beside those of the classes, and a threshold that another set chose."""

from pathlib import Path

import numpy as np
import pytest
import torch
from intent_table import ByTable, spec, write

from xmodal.errors import UserError
from xmodal.evaluation.classification.speech_intent import SpeechIntent
from xmodal.evaluation.classification.zero_shot import ZeroShot
from xmodal.report.report import Report

CLASSES = {"up": (1, 0, 0), "down": (0, 1, 0)}

# id, label (None: neither), what it scores for up and for down
DEV = [("d1", "up", 0.9, 0.1), ("d2", "down", 0.1, 0.8), ("d3", None, 0.4, 0.3), ("d4", "sideways", 0.2, 0.3)]
TEST = [
    ("t1", "up", 0.7, 0.2),  # right
    ("t2", "up", 0.3, 0.8),  # wrong
    ("t3", "down", 0.1, 0.5),  # rejected
    ("t4", "down", 0.2, 0.9),  # right
    ("t5", None, 0.1, 0.2),  # rejected, which is right
    ("t6", "sideways", 0.65, 0.2),  # accepted: a label that is no class is none of these, too
]


def files(tmp_path: Path, **sets: list) -> ByTable:
    vectors = {name: torch.tensor(z, dtype=torch.float32) for name, z in CLASSES.items()}
    for called, rows in ({"dev": DEV, "test": TEST} | sets).items():
        lines = []
        for name, label, up, down in rows:
            rest = (1 - up * up - down * down) ** 0.5
            vectors[f"{name}.wav"] = torch.tensor([up, down, rest])
            row = {"id": name, "audio": f"{name}.wav", "speech": f"{name}.wav", "label": label, "text": f"say {name}"}
            vectors[row["text"]] = torch.tensor([up, down, rest])
            lines.append(row)
        write(tmp_path / f"{called}.jsonl", lines)
    return ByTable(vectors)


def zero_shot(tmp_path: Path, **more: object) -> ZeroShot:
    given = {"test": tmp_path / "test.jsonl", "dev": tmp_path / "dev.jsonl", "items": "audio"}
    return ZeroShot(ZeroShot.Spec(**given | {"classes": ("up", "down")} | more), {"audio": "audio"})


def values(report: Report) -> dict[str, float | None]:
    return {record.metric: record.value for record in report.records}


def test_every_number_by_hand(tmp_path: Path) -> None:
    encoder = files(tmp_path)
    report = zero_shot(tmp_path).evaluate(encoder, "t")
    found = values(report)
    assert found["acc1"] == pytest.approx(3 / 4)  # the closed set: t1 to t4
    assert found["accuracy_open"] == pytest.approx(3 / 6)
    assert found["rejected_known"] == pytest.approx(1 / 4)
    assert found["accepted_none"] == pytest.approx(1 / 2)
    assert found["auroc"] == pytest.approx(7 / 8)  # t6 scores above t3 alone of the four
    assert found["fpr_at_95_tpr"] == pytest.approx(1 / 2)
    records = {record.metric: record for record in report.records}
    assert [records[m].n for m in ("acc1", "auroc", "accuracy_open", "rejected_known", "accepted_none")] == [
        4,
        6,
        6,
        4,
        2,
    ]
    assert [records[m].chance for m in ("auroc", "fpr_at_95_tpr", "accuracy_open")] == [0.5, 0.95, 1 / 3]
    assert records["auroc"].context["threshold"] == pytest.approx((0.8 + 0.4) / 2)
    assert records["auroc"].context["threshold_from"] == str(tmp_path / "dev.jsonl")
    rows = report.predictions[report.predictions["protocol"] == "accuracy_open"]
    assert list(rows["item"]) == ["t1", "t2", "t3", "t4", "t5", "t6"]
    none = "none of these"
    assert list(rows["predicted"]) == ["up", "down", none, "down", none, "up"]
    assert list(rows["true"]) == ["up", "up", "down", "down", none, none]
    chosen = (
        f"t: none of these: the threshold was chosen on {tmp_path / 'dev.jsonl'} (2 items of the classes, 2 others)."
    )
    assert chosen in report.notes
    assert report.figures["t: none of these"].startswith(b"\x89PNG")
    assert list(report.tables["t: none of these"]["metric"]) == list(found)[-5:]
    assert not zero_shot(tmp_path).evaluate(encoder, "t", brief=True).figures


def test_a_test_without_others_still_has_a_threshold(tmp_path: Path) -> None:
    encoder = files(tmp_path, test=TEST[:4])
    report = zero_shot(tmp_path, classes=None).evaluate(encoder, "t")
    found = values(report)
    assert found["auroc"] is None
    assert found["accepted_none"] is None
    assert found["accuracy_open"] == pytest.approx(2 / 4)
    assert "t: every item of the test is of a class: AUROC and FPR at 95% TPR have no value." in report.notes
    assert "t: none of these" not in report.figures


def test_intents_by_both_kinds_of_class_vector(tmp_path: Path) -> None:
    encoder = files(tmp_path)
    for name, z in {"go up": (0.8, 0.6, 0.0), "go down": (0.0, 1.0, 0.0)}.items():
        encoder.vectors[name] = torch.tensor(z)
    lines = [{"text": f"go {label}", "label": label} for label in CLASSES]
    write(tmp_path / "examples.jsonl", lines)
    evaluator = SpeechIntent(spec(tmp_path, dev=tmp_path / "dev.jsonl"))
    report = evaluator.evaluate(encoder, "t")
    found = values(report)
    assert found["auroc_prompt"] == pytest.approx(7 / 8)
    assert found["accuracy_prompt"] == pytest.approx(3 / 5)  # of the closed test, as ever: sideways is always wrong
    z = np.stack([encoder.vectors[f"{name}.wav"].numpy() for name, *_ in TEST])
    best = (z @ np.array([[0.8, 0.6, 0], [0, 1, 0]]).T).max(axis=1)
    above = [(a > b) + 0.5 * (a == b) for a in best[:4] for b in best[4:]]
    assert found["auroc_mean"] == pytest.approx(np.mean(above))
    assert {
        "accuracy_open_mean",
        "rejected_known_mean",
        "t: none of these mean",
    } <= found.keys() | report.figures.keys()


def test_speakers_are_resampled(tmp_path: Path) -> None:
    encoder = files(tmp_path)
    rows = [
        {"id": name, "audio": f"{name}.wav", "label": label, "speaker": "ab"[at % 2]}
        for at, (name, label, *_) in enumerate(TEST)
    ]
    write(tmp_path / "test.jsonl", rows)
    report = zero_shot(tmp_path).evaluate(encoder, "t")
    assert {record.context["clusters"] for record in report.records} == {"speaker"}
    rows_open = report.predictions[report.predictions["protocol"] == "accuracy_open"]
    assert list(rows_open["cluster"]) == ["a", "b"] * 3


def test_what_chose_the_threshold_must_not_be_tested(tmp_path: Path) -> None:
    encoder = files(tmp_path)
    with pytest.raises(UserError, match=r"dev: .*test\.jsonl is the test itself; what is chosen on a test flatters it"):
        zero_shot(tmp_path, dev=tmp_path / "test.jsonl")
    files(tmp_path, dev=[*DEV, *TEST[:2]])
    report = zero_shot(tmp_path).evaluate(encoder, "t")
    said = f"t: 2 of 6 items are also in {tmp_path / 'dev.jsonl'}, which chose settings: that flatters the numbers."
    assert said in report.notes


@pytest.mark.parametrize(
    ("dev", "message"),
    [
        (DEV[:2], r"dev\.jsonl: none of its 2 items is none of the classes \(label null\); a threshold is chosen on"),
        (DEV[2:], r"dev\.jsonl: none of its 2 items is of the classes; a threshold is chosen on items of both kinds"),
    ],
)
def test_a_dev_set_holds_both_kinds(tmp_path: Path, dev: list, message: str) -> None:
    files(tmp_path, dev=dev)
    with pytest.raises(UserError, match=message):
        zero_shot(tmp_path)


def test_labels_may_be_null_for_this_alone(tmp_path: Path) -> None:
    files(tmp_path)
    with pytest.raises(UserError, match=r"test\.jsonl: label is null in 1 rows \(row 5\); fill or remove them"):
        zero_shot(tmp_path, dev=None)


def test_files_of_all_sets_are_looked_for(tmp_path: Path) -> None:
    files(tmp_path)
    for name, *_ in TEST[:4]:
        (tmp_path / f"{name}.wav").write_bytes(b"")
    evaluator = zero_shot(tmp_path, max_bad=1.0)
    with pytest.raises(UserError, match=r"dev\.jsonl: 4 of 4 items .* no such file|test\.jsonl: 4 of 4"):
        evaluator.check()
    digests = {evaluator.content()}
    files(tmp_path, dev=[*DEV[:3], ("d4", "up", 0.2, 0.3)])
    assert zero_shot(tmp_path).content() not in digests
