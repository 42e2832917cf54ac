"""The whole report of probes and diagnostics, by an encoder whose embeddings are colours."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from colour_encoder import colour_encoder, paint

from xmodal.errors import UserError
from xmodal.evaluation import probe_report as module
from xmodal.evaluation.diagnostics import mutual_knn, uniformity
from xmodal.evaluation.metrics import bootstrap_interval
from xmodal.evaluation.probe import drawn_interval, knn_probe, linear_probe
from xmodal.evaluation.probe_report import ProbePlan, kernel_of, probe_report
from xmodal.objectives.kernels import Affine, Exp
from xmodal.report.report import Report, read_report

COLOURS = ["red", "green", "blue", "yellow"]


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 training and 48 test pictures in four noisy colours, two to a session; captions name colours."""
    folder = tmp_path_factory.mktemp("colours")
    for split, n, first in (("train", 40, 0), ("test", 48, 1000)):
        rows = []
        for i in range(n):
            colour = COLOURS[i % 4]
            name = f"{split}/{i}.png"
            paint(folder / name, colour, noise=0.5, seed=first + i)
            row = {"id": f"{split}{i}", "image": name, "label": f"{colour}_thing", "session": str(i // 8)}
            rows.append(row | {"text": f"{colour} {COLOURS[(i // 4) % 4]} {'white ' * (i // 32)}"})
        write(folder / f"{split}.jsonl", rows)
    return folder


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def embeddings(data: Path, split: str) -> np.ndarray:
    rows = rows_of(data / f"{split}.jsonl")
    return colour_encoder().encode("image", [data / row["image"] for row in rows]).numpy()


def labels(data: Path, split: str) -> np.ndarray:
    return np.array([row["label"] for row in rows_of(data / f"{split}.jsonl")], dtype=object)


def run(data: Path, **more: object) -> Report:
    return probe_report(
        colour_encoder(), ProbePlan(**{"test": data / "test.jsonl", "train": data / "train.jsonl"} | more)
    )


def record(report: Report, metric: str):
    [found] = [r for r in report.records if r.metric == metric]
    return found


# --------------------------------------------------------------------------------------------------------------- probes


def test_probes_score_the_encoders_embeddings(data: Path, tmp_path: Path) -> None:
    report = run(data, shots=(1, 4))
    z, z_test, true = embeddings(data, "train"), embeddings(data, "test"), labels(data, "test")
    for metric, function in (("linear", linear_probe), ("knn", knn_probe)):
        found = function(z, labels(data, "train"), z_test)
        hits = np.array(found.classes, dtype=object)[found.scores.argmax(1)] == true
        mine = record(report, metric)
        assert (mine.value, mine.n, mine.chance) == (pytest.approx(hits.mean()), 48, 0.25)
        assert (mine.low, mine.high) == pytest.approx(bootstrap_interval(hits))
        assert mine.context["candidates"] == sorted({*true})
        assert mine.value > 0.5
    assert record(report, "majority").value == 0.25
    draws = report.predictions[report.predictions["protocol"].str.startswith("few_shot_4_")]
    assert draws["protocol"].nunique() == 5
    hits = np.stack([rows["correct"].to_numpy() for _, rows in draws.groupby("protocol")])
    mine = record(report, "few_shot_4")
    assert mine.value == pytest.approx(hits.mean())
    assert (mine.low, mine.high) == pytest.approx(drawn_interval(hits), abs=0.02)
    assert mine.context["training_items"] == 16
    table = report.tables["test: few-shot linear probe"].set_index("shots")
    assert table.loc[4, "mean"] == mine.value
    assert table.loc[4, "sd over draws"] == pytest.approx(hits.mean(1).std(ddof=1))
    report.write(tmp_path / "report")
    back = read_report(tmp_path / "report")
    assert [r.value for r in back.records] == [r.value for r in report.records]
    assert {"linear", "knn", "few_shot_1_draw_0"} <= set(back.predictions["protocol"])
    assert back.provenance["train"] == str(data / "train.jsonl")


def test_groups_are_resampled_and_kept_together(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(module, "linear_probe", lambda *a, groups: (asked.append(groups), linear_probe(*a, groups))[1])
    report = run(data, what=("linear",), group="session")
    sessions = [str(i // 8) for i in range(40)]
    assert list(asked[0]) == sessions
    rows = report.predictions
    assert list(rows["cluster"]) == [str(i // 8) for i in range(48)]
    mine = record(report, "linear")
    assert (mine.low, mine.high) == pytest.approx(bootstrap_interval(rows["correct"], rows["cluster"]))


def test_what_a_reader_must_know_is_noted(data: Path, tmp_path: Path) -> None:
    train, test = rows_of(data / "train.jsonl"), rows_of(data / "test.jsonl")
    for row in train + test:
        row["image"] = str(data / row["image"])
    (tmp_path / "broken.png").write_bytes(b"no image")
    train = [row for row in train if row["label"] != "blue_thing"] + [train[0] | {"id": "x", "image": "broken.png"}]
    test += [train[0] | {"id": "again"}]
    plan = {"train": write(tmp_path / "train.jsonl", train), "test": write(tmp_path / "test.jsonl", test)}
    report = run(data, **plan, what=("linear", "few_shot"), shots=(2,), max_bad=0.1)
    notes = "\n".join(report.notes)
    assert "12 of 49 test items are of classes that training lacks, so always wrong: blue_thing." in notes
    assert "1 of 31 items could not be read" in notes
    assert "1 of 49 test items are also training items of the probe" in notes
    assert record(report, "linear").chance == pytest.approx(1 / 3)
    assert not report.predictions[report.predictions["true"] == "blue_thing"]["correct"].any()
    with pytest.raises(UserError, match=r"train\.jsonl: 1 of 31 items \(3\.2%\) cannot be used, the limit is 1\.0%"):
        run(data, **plan, what=("linear",))


def test_mistakes(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="linear, knn, few_shot: need training items; give --train FILE"):
        run(data, train=None)
    with pytest.raises(UserError, match="modality 'speech': colours encodes image, text"):
        run(data, modality="speech")
    with pytest.raises(UserError, match="11 shots, but 'blue_thing' has 10 training items"):
        run(data, shots=(11,))
    bare = write(tmp_path / "bare.jsonl", [{"id": "a", "image": "a.png"}])
    with pytest.raises(UserError, match=r"bare\.jsonl: missing column 'label'"):
        run(data, train=bare)
    several = write(tmp_path / "several.jsonl", [{"id": "a", "image": "a.png", "labels": ["x", "y"]}])
    with pytest.raises(UserError, match="several labels per item"):
        run(data, train=several)


# ---------------------------------------------------------------------------------------------------------- diagnostics


def test_diagnostics_take_every_item_and_caption_once(data: Path) -> None:
    report = run(data, train=None, what=("diagnostics",))
    rows = rows_of(data / "test.jsonl")
    first = [i for i, row in enumerate(rows) if row["text"] not in [r["text"] for r in rows[:i]]]
    assert 10 < len(first) < 48
    a = torch.from_numpy(embeddings(data, "test"))[first]
    b = colour_encoder().encode("text", [rows[i]["text"] for i in first])
    assert record(report, "mutual_knn").value == pytest.approx(mutual_knn(a, b).mean())
    assert record(report, "mutual_knn").chance == pytest.approx(10 / (len(first) - 1))
    assert record(report, "uniformity_image").value == pytest.approx(uniformity(a).value)
    assert record(report, "uniformity_text").n == len(first)
    assert record(report, "alignment").value == pytest.approx(float(((a - b) ** 2).sum(1).mean()), rel=1e-5)
    assert record(report, "linear_separability").chance == 0.5
    gap = record(report, "modality_gap")
    assert gap.value == pytest.approx(float((a.mean(0) - b.mean(0)).norm()), rel=1e-5)
    assert gap.low < gap.value < gap.high
    assert 0 < record(report, "linear_cka").value < 1
    assert record(report, "effective_positives_text").context["guide"] is True
    assert record(report, "effective_positives_image").context["guide"] is False
    pictures = ["test: image-image similarity", "test: text-text similarity", "test: image-text similarity"]
    assert list(report.figures) == pictures
    assert len(report.predictions) == 0


def test_class_names_stand_in_for_captions(data: Path, tmp_path: Path) -> None:
    rows = [{**row, "image": str(data / row["image"])} for row in rows_of(data / "test.jsonl")]
    for row in rows:
        del row["text"]
    report = run(data, train=None, test=write(tmp_path / "named.jsonl", rows), what=("diagnostics",))
    b = colour_encoder().encode("text", [row["label"].replace("_", " ") for row in rows])
    a = torch.from_numpy(embeddings(data, "test"))
    assert record(report, "alignment").value == pytest.approx(float(((a - b) ** 2).sum(1).mean()), rel=1e-5)
    assert record(report, "alignment").context["texts"] == "class names"
    assert not {"mutual_knn", "linear_cka", "uniformity_text"} & {r.metric for r in report.records}
    for row in rows:
        del row["label"]
    report = run(data, train=None, test=write(tmp_path / "alone.jsonl", rows), what=("diagnostics",))
    assert {r.metric for r in report.records} == {"uniformity_image", "effective_positives_image"}
    assert any("image alone" in note for note in report.notes)
    assert list(report.figures) == ["alone: image-image similarity"]


def test_the_models_own_kernel_counts() -> None:
    assert kernel_of(colour_encoder()) == Affine()
    assert kernel_of(colour_encoder(objective={"kind": "infonce"})) == Affine()
    cwcl = {"kind": "cwcl", "kernel": {"kind": "exp", "temperature": 0.2, "centre": True}}
    assert kernel_of(colour_encoder(objective=cwcl)) == Exp(temperature=0.2, centre=True)


def test_images_as_bytes(data: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        rows = rows_of(data / f"{split}.jsonl")
        pictures = [{"bytes": (data / row["image"]).read_bytes(), "path": None} for row in rows]
        frame = pd.DataFrame({"id": [row["id"] for row in rows], "image": pictures, "label": labels(data, split)})
        frame.to_parquet(tmp_path / f"{split}.parquet")
    report = run(data, train=tmp_path / "train.parquet", test=tmp_path / "test.parquet", shots=(1,))
    assert record(report, "linear").value == record(run(data, what=("linear",)), "linear").value
