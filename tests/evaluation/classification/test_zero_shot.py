"""Zero-shot classification: known answers on plain colours, scikit-learn's metrics, subsets, several labels, errors."""

import io
import json
import warnings

import numpy as np
import pandas as pd
import pytest
import soundfile
from colours import COLOURS, colour_encoder, save_image
from PIL import Image
from sklearn.metrics import average_precision_score, balanced_accuracy_score

from xmodal.errors import UserError
from xmodal.evaluation.classification.one_label import confused_pairs
from xmodal.evaluation.classification.zero_shot import ZeroShot
from xmodal.evaluation.statistics.metrics import places_of
from xmodal.evaluation.statistics.multilabel import average_precision, random_average_precision
from xmodal.files import write_json_lines
from xmodal.report.fonts import missing_letters


def evaluate(path, brief=True, **spec):
    return ZeroShot(ZeroShot.Spec(test=path, **spec)).evaluate(colour_encoder(), "colours", brief)


def test_known_answers(folder):
    report = evaluate(folder)
    assert report.value("acc1") == 8 / 9
    assert report.value("mean_per_class_recall") == pytest.approx((1 + 0.5 + 1) / 3)
    assert np.isnan(report.value("acc5"))  # three classes
    assert report.value("majority") == 4 / 9
    record = next(r for r in report.records if r.metric == "acc1")
    assert record.chance == 1 / 3
    assert record.context["candidates"] == ["blue", "green", "red"]
    rows = report.predictions.set_index("item")
    assert rows.loc["green/1.png", "predicted"] == "blue"
    true, predicted = report.predictions["true"], report.predictions["predicted"]
    assert report.value("mean_per_class_recall") == pytest.approx(balanced_accuracy_score(true, predicted))


def test_tables_and_pictures(folder):
    report = evaluate(folder, brief=False)
    assert set(report.tables) == {"colours: per class", "colours: the most confused pairs"}
    assert set(report.figures) == {"colours: confusion"}
    wrong = report.predictions[~report.predictions["correct"]].sort_values("score", ascending=False, kind="stable")
    shown = report.examples["colours: the most confident errors"]
    assert [(e.item, e.true, e.predicted) for e in shown] == list(
        wrong[["item", "true", "predicted"]].itertuples(index=False, name=None)
    )
    first = np.asarray(Image.open(io.BytesIO(shown[0].media)).convert("RGB")).mean((0, 1))
    given = np.asarray(Image.open(folder / shown[0].item).convert("RGB")).mean((0, 1))
    assert np.abs(first - given).max() < 3  # the item's own picture
    assert all(png.startswith(b"\x89PNG") for png in report.figures.values())


def test_a_subset_of_classes(folder, tmp_path):
    report = evaluate(folder, classes=("red", "green"))
    record = next(r for r in report.records if r.metric == "acc1")
    assert (record.n, record.value, record.chance) == (5, 0.8, 0.5)  # blue is as far from both: the first one, red
    assert record.context["ties"] == 1
    assert any("4 items of classes outside" in note for note in report.notes)
    (tmp_path / "few.txt").write_text("red\nblue\n")
    assert evaluate(folder, classes=str(tmp_path / "few.txt")).value("acc1") == 1.0


def test_names_and_equal_names(folder, tmp_path):
    (tmp_path / "names.json").write_text('{"green": "blue", "blue": "blue"}')
    report = evaluate(folder, names=tmp_path / "names.json")
    record = next(r for r in report.records if r.metric == "acc1")
    assert record.context["ties"] == 6  # blue and green are one vector; red is apart
    assert any("1 class names are also another class's" in note for note in report.notes)


def test_labels_without_a_name_and_names_without_a_label_are_told(folder, tmp_path):
    """Half the names fitting halves an accuracy: a note where it may be meant, an error where it cannot."""
    names = tmp_path / "names.json"
    names.write_text('{"green": "green", "blue": "blue"}')
    assert f"colours: 1 of 3 classes have no name in {names} and go by their labels: red." in (
        evaluate(folder, names=names).notes
    )
    names.write_text('{"red": "red", "green": "green", "blue": "blue", "pink": "pink"}')
    notes = evaluate(folder, names=names).notes
    assert f"colours: 1 of 4 names of {names} are for no class of the test: pink." in notes
    names.write_text('{"Red": "red", "green": "green", "blue": "blue"}')
    with pytest.raises(UserError, match=r"1 of 3 classes have no name \(first 'red'\).*; is 'Red' there meant"):
        evaluate(folder, names=names)
    with pytest.raises(UserError, match=r"names: 3 of 3 labels \(first 'blue'\) are none of ImageNet's"):
        evaluate(folder, names="imagenet")


def test_unreadable_items_are_counted(folder):
    (folder / "red" / "1.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"1 of 9 items \(11.1%\) cannot be used"):
        evaluate(folder)
    report = evaluate(folder, max_bad=0.2)
    assert next(r for r in report.records if r.metric == "acc1").n == 8
    assert any("1 of 9 items could not be read" in note and "an empty file" in note for note in report.notes)


def test_several_labels_per_item(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for n in range(40):
        pair = sorted(rng.choice(list(COLOURS), size=rng.integers(1, 3), replace=False).tolist())
        colour = np.mean([COLOURS[c] for c in pair], axis=0).astype(int) + rng.integers(0, 40, 3)
        save_image(tmp_path / f"{n}.png", tuple(int(min(255, v)) for v in colour))
        rows.append({"id": str(n), "image": f"{n}.png", "labels": pair})
    write_json_lines(tmp_path / "m.jsonl", rows)
    evaluator = ZeroShot(ZeroShot.Spec(test=tmp_path / "m.jsonl"))
    assert evaluator.metrics() == {"mean_average_precision", "precision@1"}
    report = evaluator.evaluate(colour_encoder(), "many")
    encoder = colour_encoder()
    z = encoder.encode("image", [tmp_path / f"{n}.png" for n in range(40)])
    scores = (z @ encoder.encode("text", sorted(COLOURS)).T).numpy()
    want = [
        average_precision_score([c in row["labels"] for row in rows], scores[:, at])
        for at, c in enumerate(sorted(COLOURS))
    ]
    assert report.value("mean_average_precision") == pytest.approx(np.mean(want), abs=1e-6)


def test_precision_at_1_by_hand(tmp_path):
    for name, colour in {"r": "red", "b": "blue", "w": "white"}.items():
        save_image(tmp_path / f"{name}.png", colour)
    labels = {"r": ["red", "white"], "b": ["red"], "w": ["green"]}
    rows = [{"id": name, "image": f"{name}.png", "labels": found} for name, found in labels.items()]
    write_json_lines(tmp_path / "t.jsonl", rows)
    report = ZeroShot(ZeroShot.Spec(test=tmp_path / "t.jsonl")).evaluate(colour_encoder(), "t")
    record = next(r for r in report.records if r.metric == "precision@1")
    assert (record.value, record.chance, record.n) == (1 / 3, 4 / 9, 3)  # blue is nearest to white
    found = report.predictions.set_index("item")
    assert (found.loc["r", "true"], found.loc["r", "predicted"], found["correct"].sum()) == ("red; white", "red", 1)
    assert [e.item for e in report.examples["t: the most confident errors"]] == ["w", "b"]
    rows[0]["labels"] = ["red", None]
    write_json_lines(tmp_path / "t.jsonl", rows)
    with pytest.raises(UserError, match="column 'labels' holds lists with null in them"):
        ZeroShot(ZeroShot.Spec(test=tmp_path / "t.jsonl"))


def test_several_labels_of_which_some_are_no_candidates(tmp_path):
    for name in ("red", "blue"):
        save_image(tmp_path / f"{name}.png", name)
    rows = [{"id": n, "image": f"{n}.png", "labels": [n, "else"]} for n in ("red", "blue")]
    write_json_lines(tmp_path / "t.jsonl", rows)
    encoder = colour_encoder()
    encoder.trained_labels = frozenset({"red", "else"})
    test = ZeroShot(ZeroShot.Spec(test=tmp_path / "t.jsonl", classes=("red", "blue")))
    assert test.trained(encoder) == ["red"]
    assert test.evaluate(encoder, "t", brief=True).value("precision@1") == 1


def test_classes_of_training_are_told_without_a_flag(folder):
    encoder = colour_encoder()
    encoder.trained_labels = frozenset({"red", "yellow"})
    report = ZeroShot(ZeroShot.Spec(test=folder)).evaluate(encoder, "x", brief=True)
    assert not report.records[0].context["zero_shot"]
    assert "x: 1 of its classes occur in the training of colours (red): prompted classification, not zero-shot." in (
        report.notes
    )
    others = ZeroShot(ZeroShot.Spec(test=folder, classes=("green", "blue"))).evaluate(encoder, "x", brief=True)
    assert others.records[0].context["zero_shot"]
    assert not any("occur in" in note for note in others.notes)


def test_columns_of_other_names_and_sounds_of_any_modality(tmp_path):
    save_image(tmp_path / "a.png", "red")
    save_image(tmp_path / "b.png", "blue")
    rows = [{"id": n, "img": f"{n}.png", "fine": c} for n, c in (("a", "red"), ("b", "blue"))]
    write_json_lines(tmp_path / "t.jsonl", rows)
    spec = ZeroShot.Spec(test=tmp_path / "t.jsonl", column="img", label="fine")
    assert ZeroShot(spec).evaluate(colour_encoder(), "t", brief=True).value("acc1") == 1
    for label in ("up", "down"):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        soundfile.write(tmp_path / "sounds" / label / "1.wav", np.zeros(800), 8000)
    test = ZeroShot(ZeroShot.Spec(test=tmp_path / "sounds", items="speech"))
    assert [file.name for file in test.files] == ["1.wav", "1.wav"]
    assert test.test.kind == "audio"
    named = ZeroShot(ZeroShot.Spec(test=tmp_path / "sounds", items="bark"), {"bark": "audio"})
    assert named.test.kind == "audio"


def test_names_that_name_nothing(folder, tmp_path):
    (tmp_path / "names.json").write_text(json.dumps({"rouge": "red"}))
    with pytest.raises(UserError, match=r"names: none of the 1 names of .* is for one of the labels"):
        ZeroShot(ZeroShot.Spec(test=folder, names=tmp_path / "names.json"))
    (tmp_path / "names.json").write_text(json.dumps({"red": " "}))
    with pytest.raises(UserError, match="the class 'red' has an empty name"):
        ZeroShot(ZeroShot.Spec(test=folder, names=tmp_path / "names.json"))


def test_the_most_confused_pairs_by_hand():
    true, predicted = np.array(list("aaabbbbc")), np.array(list("abbbaabc"))
    rows = confused_pairs(true, predicted).to_dict("records")
    assert rows == [
        {"true": "a", "predicted": "b", "n": 2, "share": 2 / 3},
        {"true": "b", "predicted": "a", "n": 2, "share": 0.5},
    ]
    assert len(confused_pairs(true, true)) == 0


def test_names_in_any_script_are_drawn_or_told_once(folder, tmp_path):
    for label, name in {"red": "红色", "green": "绿色", "blue": "蓝色"}.items():
        (folder / label).rename(folder / name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = evaluate(folder, brief=False)
    told = [note for note in report.notes if note.startswith("pictures: no installed font")]
    assert len(told) == (1 if missing_letters("红绿蓝色") else 0)
    assert set(report.tables["colours: per class"]["label"]) == {"红色", "绿色", "蓝色"}


def test_numbered_classes_are_known_by_their_names(folder, tmp_path):
    for at, label in enumerate(("red", "green", "blue")):
        (folder / label).rename(folder / str(at))
    (tmp_path / "names.txt").write_text("Red\ngreen\nsky blue\n")
    encoder = colour_encoder()
    encoder.trained_labels = frozenset({"red", "sky_blue"})
    test = ZeroShot(ZeroShot.Spec(test=folder, names=tmp_path / "names.txt"))
    assert test.trained(encoder) == ["0", "2"]


def test_average_precision_and_places_by_hand():
    assert average_precision(np.array([0.9, 0.8, 0.7]), np.array([True, False, True])) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.array([0.9, 0.8]), np.array([False, False])) == 0
    tied, front = np.ones(10), np.arange(10) == 0  # where scikit-learn's differs, as its docstring says
    assert (average_precision(tied, front), average_precision_score(front, tied)) == (1, pytest.approx(0.1))
    rng = np.random.default_rng(0)
    scores, columns = rng.integers(0, 4, (50, 7)), rng.integers(0, 7, 50)
    want = [
        sorted(range(7), key=lambda c, row=row: (-row[c], c)).index(at) for row, at in zip(scores, columns, strict=True)
    ]
    np.testing.assert_array_equal(places_of(scores, columns), want)


def test_parquet_with_other_columns_and_clusters(tmp_path):
    for n in range(4):
        save_image(tmp_path / f"{n}.png", ["red", "blue"][n % 2])
    frame = pd.DataFrame({"image": [f"{n}.png" for n in range(4)], "label": ["red", "blue"] * 2, "film": [1, 1, 2, 2]})
    frame.to_parquet(tmp_path / "m.parquet")
    record = next(r for r in evaluate(tmp_path / "m.parquet", cluster="film").records if r.metric == "acc1")
    assert (record.low, record.high) == (pytest.approx(0.025**0.5), 1.0)  # two clusters, all right


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"classes": ("red", "gren")}, "'gren' is no label of .*; did you mean 'green'"),
        ({"classes": ("red", "red")}, "a label is named twice"),
        ({"classes": ("red",)}, r"1 class \(red\), expected two or more"),
        ({"classes": "imagenet_q"}, "no subset or file 'imagenet_q'"),
        ({"classes": "imagenet"}, "none of its 3 labels"),
        ({"prompts": "imagnet80"}, "no template set"),
        ({"cluster": "film"}, "missing column 'film'; found: id, image, label"),
    ],
)
def test_mistakes(folder, spec, message):
    with pytest.raises(UserError, match=message):
        ZeroShot(ZeroShot.Spec(test=folder, **spec))


def test_check_finds_missing_files_without_a_model(folder):
    evaluator = ZeroShot(ZeroShot.Spec(test=folder))
    evaluator.check()
    (folder / "red" / "0.png").unlink()
    with pytest.raises(UserError, match="1 of 9 items"):
        evaluator.check()


def test_the_interval_of_mean_recall_stays_between_0_and_1(tmp_path):
    """A common class all right, a rare one half right: the rare one's spread is the interval's."""
    for n in range(60):
        save_image(tmp_path / "red" / f"{n}.png", "red")
    for n in range(10):
        save_image(tmp_path / "blue" / f"{n}.png", ["blue", "red"][n % 2])
    record = next(r for r in evaluate(tmp_path).records if r.metric == "mean_per_class_recall")
    assert record.value == pytest.approx(0.75)
    half = 1.96 * np.sqrt(0.25 / 10) / 2  # of one of two classes, n = 10
    assert record.low == pytest.approx(0.75 - half, abs=0.03)
    assert record.high == pytest.approx(0.75 + half, abs=0.03)


def test_average_precision_of_a_random_order():
    rng = np.random.default_rng(0)
    for n, positives in ((20, 2), (7, 1), (5, 5)):
        truth = np.arange(n) < positives
        drawn = [average_precision(rng.random(n), truth) for _ in range(4000)]
        assert random_average_precision(n, positives) == pytest.approx(np.mean(drawn), abs=0.01)
    assert random_average_precision(9, 0) == 0
