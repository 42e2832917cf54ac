"""Several label sets over one recording, on vectors made by hand."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from intent_table import ByTable, write
from pydantic import ValidationError

from xmodal.errors import UserError
from xmodal.evaluation.label_sets.label_sets import LabelSets
from xmodal.evaluation.label_sets.phrases import read_phrases
from xmodal.report.report import Report

SETS = {"size": ("small", "large"), "drink": ("latte", "mocha", "tea")}
AXES = dict(zip([*SETS["size"], *SETS["drink"]], torch.eye(6), strict=False))

# id, speaker, what is said, size, drink, and what the recording scores for small, large, latte, mocha, tea
ORDERS = [
    ("o1", "a", "a small latte", "small", "latte", (0.6, 0.1, 0.7, 0.1, 0.0)),  # both right
    ("o2", "a", "large mocha please", "large", "mocha", (0.1, 0.5, 0.1, 0.2, 0.6)),  # size right, drink wrong
    ("o3", "b", "one tea", None, "tea", (0.3, 0.2, 0.0, 0.1, 0.8)),  # no size; right
    ("o4", "b", "the large one", "large", None, (0.7, 0.2, 0.1, 0.0, 0.0)),  # no drink; wrong
    ("o5", "b", "hello", None, None, (0.1, 0.2, 0.3, 0.1, 0.2)),  # of no set
    ("o6", "a", "a huge latte", "huge", "latte", (0.5, 0.1, 0.6, 0.1, 0.0)),  # its size is none of the set's
]


def unit(*values: float) -> torch.Tensor:
    rest = max(0.0, 1 - sum(v * v for v in values)) ** 0.5
    return torch.tensor([*values, rest], dtype=torch.float32)


@pytest.fixture
def orders(tmp_path: Path) -> ByTable:
    vectors = {word: z.clone() for word, z in AXES.items()}
    rows = []
    for name, speaker, text, size, drink, z in ORDERS:
        vectors[f"{name}.wav"] = vectors[text] = unit(*z)
        row = {"id": name, "speech": f"{name}.wav", "text": text, "size": size, "drink": drink, "speaker": speaker}
        rows.append(row)
    vectors["a small latte"] = unit(0.6, 0.1, 0.1, 0.7, 0.0)  # the text says mocha
    write(tmp_path / "orders.jsonl", rows)
    return ByTable(vectors)


def label_sets(folder: Path, **more: object) -> LabelSets:
    return LabelSets(LabelSets.Spec(**{"test": folder / "orders.jsonl", "labels": SETS} | more))


def values(report: Report) -> dict[str, float | None]:
    return {record.metric: record.value for record in report.records}


def test_every_number_by_hand(orders: ByTable, tmp_path: Path) -> None:
    report = label_sets(tmp_path).evaluate(orders, "t")
    assert values(report) == pytest.approx(
        {
            "accuracy_size_prompt": 2 / 3,  # o1, o2, o4
            "accuracy_drink_prompt": 3 / 4,  # o1, o2, o3, o6
            "accuracy_all_prompt": 3 / 5,  # all but o5, of which o2 has a wrong drink and o4 a wrong size
            "oracle_size_prompt": 2 / 3,
            "oracle_drink_prompt": 2 / 4,
            "oracle_all_prompt": 2 / 5,
            "majority_size": 2 / 3,
            "majority_drink": 2 / 4,
            "majority_all": 1 / 5,
        }
    )
    records = {record.metric: record for record in report.records}
    assert [records[f"accuracy_{each}_prompt"].n for each in ("size", "drink", "all")] == [3, 4, 5]
    assert records["accuracy_size_prompt"].chance == 1 / 2
    # o1 and o2 have both values; o3, o6 a drink; o4 a size
    assert records["accuracy_all_prompt"].chance == pytest.approx((2 * (1 / 6) + 2 * (1 / 3) + 1 / 2) / 5)
    assert records["accuracy_size_prompt"].context["left_out"] == 3
    assert records["accuracy_drink_prompt"].context["candidates"] == ["latte", "mocha", "tea"]
    assert {record.context["clusters"] for record in report.records} == {"speaker"}
    assert "t: size: 3 of 6 recordings have none of its values." in report.notes
    rows = report.predictions[report.predictions["protocol"] == "accuracy_all_prompt"].set_index("item")
    assert list(rows.index) == ["o1", "o2", "o3", "o4", "o6"]
    assert rows.loc["o2", "true"] == "large; mocha"
    assert rows.loc["o2", "predicted"] == "large; tea"
    assert rows.loc["o3", "predicted"] == "tea"
    assert list(rows["correct"]) == [True, False, True, False, True]
    assert report.figures.keys() == {"t: size (prompt)", "t: drink (prompt)"}
    table = report.tables["t: sets"]
    assert list(dict.fromkeys(table["set"])) == ["size", "drink", "all"]
    assert label_sets(tmp_path).metrics() <= values(report).keys()


def test_means_of_phrases_that_hold_the_value(orders: ByTable, tmp_path: Path) -> None:
    said = ["Small latte", "a small tea", "LARGE mocha", "latte, large", "smallish mocha", "the tea"]
    rng = np.random.default_rng(0)
    for text in said:
        orders.vectors[text] = torch.nn.functional.normalize(
            torch.tensor(rng.standard_normal(6), dtype=torch.float32), dim=0
        )
    write(tmp_path / "phrases.jsonl", [{"text": text} for text in said])
    evaluator = label_sets(tmp_path, examples=tmp_path / "phrases.jsonl")
    held = {"small": [0, 1], "large": [2, 3], "latte": [0, 3], "mocha": [2, 4], "tea": [1, 5]}
    assert evaluator.phrases == {name: [[said[i] for i in held[v]] for v in sets] for name, sets in SETS.items()}
    report = evaluator.evaluate(orders, "t", brief=True)
    given = [order for order in ORDERS if order[4] in SETS["drink"]]
    means = torch.stack([torch.stack([orders.vectors[said[i]] for i in held[v]]).mean(0) for v in SETS["drink"]])
    means = torch.nn.functional.normalize(means, dim=1)
    picked = [SETS["drink"][int((orders.vectors[f"{o[0]}.wav"] @ means.T).argmax())] for o in given]
    assert values(report)["accuracy_drink_mean"] == np.mean([p == o[4] for p, o in zip(picked, given, strict=True)])
    assert evaluator.metrics() == {f"accuracy_{n}_{k}" for n in ("size", "drink", "all") for k in ("prompt", "mean")}
    columns = [{"text": "hm", "size": "small", "drink": "tea"}, {"text": "uh", "size": "large", "drink": None}]
    write(tmp_path / "columns.jsonl", [*columns, {"text": "ah", "size": None, "drink": "latte"}])
    names = {value: value for values in SETS.values() for value in values}
    found = read_phrases(tmp_path / "columns.jsonl", {"size": SETS["size"], "drink": ("tea", "latte")}, names)
    assert found == {"size": [["hm"], ["uh"]], "drink": [["hm"], ["ah"]]}


def test_phrases_of_the_test_are_told(orders: ByTable, tmp_path: Path) -> None:
    phrases = [{"text": text} for text in ("A small latte!", "large mocha please", "one tea", "large tea")]
    for row in phrases:
        orders.vectors.setdefault(row["text"], AXES["tea"])
    write(tmp_path / "phrases.jsonl", phrases)
    report = label_sets(tmp_path, examples=tmp_path / "phrases.jsonl").evaluate(orders, "t", brief=True)
    assert "t: 3 of 6 recordings say a phrase that is among the examples." in report.notes


def test_means_are_taken_off(orders: ByTable, tmp_path: Path) -> None:
    """All recordings of one voice lean to one drink: without their mean, which dev tells, they are right."""
    rng = np.random.default_rng(1)
    lean = torch.tensor([0.0, 0.0, 0.0, 0.0, 3.0, 1.0])
    rows, dev = [], []
    for at in range(40):
        size, drink = SETS["size"][at % 2], SETS["drink"][at % 3]
        z = AXES[size] + AXES[drink] + lean + 0.1 * torch.tensor(rng.standard_normal(6), dtype=torch.float32)
        orders.vectors[f"v{at}.wav"] = torch.nn.functional.normalize(z, dim=0)
        row = {"id": f"v{at}", "speech": f"v{at}.wav", "size": size, "drink": drink}
        (dev if at < 18 else rows).append(row)
    write(tmp_path / "orders.jsonl", rows)
    write(tmp_path / "dev.jsonl", [{"id": row["id"], "speech": row["speech"]} for row in dev])
    plain = label_sets(tmp_path).evaluate(orders, "t")
    centred = label_sets(tmp_path, centre=tmp_path / "dev.jsonl").evaluate(orders, "t")
    assert plain.value("accuracy_drink_prompt") < 0.5  # it is always tea
    assert centred.value("accuracy_all_prompt") == 1
    assert {r.context["centre"] for r in centred.records} == {str(tmp_path / "dev.jsonl")}
    assert not [note for note in centred.notes if "transductive" in note]
    itself = label_sets(tmp_path, centre=tmp_path / "orders.jsonl").evaluate(orders, "t")
    assert [note for note in itself.notes if "transductive" in note]
    # the mean by hand
    mean = torch.stack([orders.vectors[row["speech"]] for row in dev]).mean(0)
    z = torch.nn.functional.normalize(torch.stack([orders.vectors[row["speech"]] for row in rows]) - mean, dim=1)
    classes = torch.stack([AXES[drink] for drink in SETS["drink"]])
    classes = torch.nn.functional.normalize(classes - classes.mean(0), dim=1)
    scores = centred.predictions[centred.predictions["protocol"] == "accuracy_drink_prompt"]["score"]
    np.testing.assert_allclose(scores, (z @ classes.T).max(1).values, rtol=1e-5)


def test_texts_without_a_mean_are_not_compared(orders: ByTable, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (tmp_path / "orders.jsonl").read_text().splitlines()]
    write(tmp_path / "dev.jsonl", [{"id": row["id"], "speech": row["speech"]} for row in rows])
    report = label_sets(tmp_path, centre=tmp_path / "dev.jsonl").evaluate(orders, "t", brief=True)
    assert not [metric for metric in values(report) if metric.startswith("oracle")]
    assert f"t: {tmp_path / 'dev.jsonl'} has no texts to centre by: cascade and oracle are left out." in report.notes
    write(tmp_path / "dev.jsonl", [{"id": row["id"], "speech": row["speech"], "text": row["text"]} for row in rows])
    report = label_sets(tmp_path, centre=tmp_path / "dev.jsonl").evaluate(orders, "t", brief=True)
    assert not math.isnan(report.value("oracle_all_prompt"))


def test_a_cascade_over_every_set(orders: ByTable, tmp_path: Path) -> None:
    heard = {"o1": "small", "o2": "mocha", "o3": "tea", "o4": "large", "o6": "latte"}
    write(tmp_path / "heard.jsonl", [{"id": name, "text": text} for name, text in heard.items()])
    found = values(label_sets(tmp_path, cascade=str(tmp_path / "heard.jsonl")).evaluate(orders, "t"))
    # size: o1 and o4 right, o2's "mocha" scores 0 for both: the first, small, wrong; drink: o1's "small": latte, right
    assert found["cascade_size_prompt"] == pytest.approx(2 / 3)
    assert found["cascade_drink_prompt"] == pytest.approx(4 / 4)
    assert found["speech_minus_cascade_drink_prompt"] == pytest.approx(3 / 4 - 1)
    assert found["speech_minus_cascade_all_prompt"] == pytest.approx(3 / 5 - 4 / 5)
    assert "wer" in found


def test_mistakes(orders: ByTable, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no label sets; name one at least, as labels: \{size: \[small, large\]\}"):
        label_sets(tmp_path, labels={})
    with pytest.raises(UserError, match=r"missing column 'milk' \(of the label set of this name\); found: drink, id"):
        label_sets(tmp_path, labels=SETS | {"milk": ("oat", "soy")})
    with pytest.raises(
        UserError, match=r"labels\.drink: none of gin, rum occurs in column 'drink', which holds latte,"
    ):
        label_sets(tmp_path, labels={"drink": ("gin", "rum")})
    write(tmp_path / "phrases.jsonl", [{"text": "a small latte"}])
    with pytest.raises(UserError, match=r"phrases\.jsonl: no phrase holds 'large' of the set size; add a phrase, or"):
        label_sets(tmp_path, examples=tmp_path / "phrases.jsonl")
    for wrong in ({"all": ("a", "b")}, {"size": ("a",)}, {"size": ("a", "a")}, {"a b": ("a", "b")}):
        with pytest.raises(ValidationError, match="expected"):
            LabelSets.Spec(test=tmp_path, labels=wrong)


def test_the_digest_knows_every_column(orders: ByTable, tmp_path: Path) -> None:
    before = label_sets(tmp_path).content()
    rows = [json.loads(line) for line in (tmp_path / "orders.jsonl").read_text().splitlines()]
    write(tmp_path / "orders.jsonl", [rows[0] | {"drink": "tea"}, *rows[1:]])
    assert label_sets(tmp_path).content() != before
