"""The whole report of probes and diagnostics, by an encoder whose embeddings are colours.

Over 300 lines: probes and diagnostics of the same coloured pictures.
"""

import json
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from colour_encoder import RGB, colour_encoder, paint
from PIL import Image
from scipy import stats
from scipy.spatial.distance import pdist
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from xmodal.errors import UserError
from xmodal.evaluation.probes.diagnosis import kernel_of
from xmodal.evaluation.probes.probe_report import ProbePlan, probe_report
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


def pictured(data: Path, split: str) -> np.ndarray:
    """The encoder's embeddings by hand: the mean colour of each picture, at unit norm."""
    pixels = [np.asarray(Image.open(data / row["image"]), float) for row in rows_of(data / f"{split}.jsonl")]
    return unit([p.reshape(-1, 3).mean(0) / 255 + 1e-3 for p in pixels])


def named(texts: list[str]) -> np.ndarray:
    """The same of texts: the sum of the colours they name."""
    return unit([np.sum([(0, 0, 0), *(RGB[w] for w in t.split() if w in RGB)], axis=0) + 1e-3 for t in texts])


def unit(rows: list) -> np.ndarray:
    z = np.array(rows, dtype=float)
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def labels(data: Path, split: str) -> np.ndarray:
    return np.array([row["label"] for row in rows_of(data / f"{split}.jsonl")])


def run(data: Path, **more: object) -> Report:
    return probe_report(
        colour_encoder(), ProbePlan(**{"test": data / "test.jsonl", "train": data / "train.jsonl"} | more)
    )


def record(report: Report, metric: str):
    [found] = [r for r in report.records if r.metric == metric]
    return found


def by_scipy(values: np.ndarray) -> tuple[float, float]:
    """scipy's percentile bootstrap of a mean, at the level of Hesterberg's expanded percentiles."""
    n = len(values)
    level = 1 - 2 * stats.norm.cdf(-math.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1))
    found = stats.bootstrap((values,), np.mean, confidence_level=level, method="percentile", rng=1).confidence_interval
    return found.low, found.high


# --------------------------------------------------------------------------------------------------------------- probes


def test_probes_are_scikit_learns_on_the_encoders_embeddings(data: Path, tmp_path: Path) -> None:
    report = run(data, shots=(1, 4))
    x, y, z, true = pictured(data, "train"), labels(data, "train"), pictured(data, "test"), labels(data, "test")
    linear, knn = record(report, "linear"), record(report, "knn")
    models = {
        "linear": LogisticRegression(C=linear.context["C"], max_iter=5000, tol=1e-8),
        "knn": KNeighborsClassifier(knn.context["k"], metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07)),
    }
    for metric, model in models.items():
        shares = np.sort(model.fit(x, y).predict_proba(z), axis=1)
        margin = shares[:, -1] - shares[:, -2]
        sure = margin > 0.03 * margin.max()  # the others may fall either way in float32
        rows = report.predictions[report.predictions["protocol"] == metric]
        assert rows["predicted"].to_numpy()[sure].tolist() == model.predict(z)[sure].tolist()
        assert sure.sum() >= 40
        hits = rows["predicted"].to_numpy() == true
        mine = record(report, metric)
        assert (mine.value, mine.n, mine.chance) == (pytest.approx(hits.mean()), 48, 0.25)
        assert (mine.low, mine.high) == pytest.approx(by_scipy(hits.astype(float)), abs=0.022)
        assert mine.context["candidates"] == sorted({*true})
        assert 0.5 < hits.mean() < 1
    assert record(report, "majority").value == 0.25

    drawn = []  # of a permutation by the seed the first four examples of each class
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(40)
        rows = np.concatenate([[i for i in order if y[i] == name][:4] for name in sorted({*y})])
        drawn.append(LogisticRegression(max_iter=5000, tol=1e-8).fit(x[rows], y[rows]).predict(z) == true)
    hits = np.array(drawn)
    for seed in range(5):
        rows = report.predictions[report.predictions["protocol"] == f"few_shot_4_draw_{seed}"]
        assert rows["correct"].tolist() == hits[seed].tolist()
    mine = record(report, "few_shot_4")
    assert (mine.value, mine.context["training_items"]) == (pytest.approx(hits.mean()), 16)
    assert 0 <= mine.low < by_scipy(hits.mean(0))[0] + 0.01  # other draws make it wider than other items alone
    assert 1 >= mine.high > by_scipy(hits.mean(0))[1] - 0.01
    table = report.tables["test: few-shot linear probe"].set_index("shots")
    assert table.loc[4, "mean"] == mine.value
    assert table.loc[4, "sd over draws"] == pytest.approx(hits.mean(1).std(ddof=1))
    assert [r.metric for r in report.records][:5] == ["linear", "knn", "majority", "few_shot_1", "few_shot_4"]

    report.write(tmp_path / "report")
    back = read_report(tmp_path / "report")
    assert [r.value for r in back.records] == [r.value for r in report.records]
    assert {"linear", "knn", "few_shot_1_draw_0"} <= set(back.predictions["protocol"])
    assert back.provenance["train"] == str(data / "train.jsonl")


def test_groups_are_resampled_and_kept_together(data: Path, tmp_path: Path) -> None:
    """Of two groups of training items one is held out whole: 16 items or 24. Without groups it is 2 of each class."""
    train = [row | {"image": str(data / row["image"])} for row in rows_of(data / "train.jsonl")]
    train = [row | {"session": "early" if i < 16 else "late"} for i, row in enumerate(train)]
    report = run(data, train=write(tmp_path / "train.jsonl", train), what=("linear",), group="session")
    mine = record(report, "linear")
    assert mine.context["validation_items"] in (16, 24)
    assert record(run(data, what=("linear",)), "linear").context["validation_items"] == 8
    rows = report.predictions
    assert list(rows["cluster"]) == [str(i // 8) for i in range(48)]
    sessions = rows["correct"].to_numpy(float).reshape(6, 8).mean(1)
    assert (mine.low, mine.high) == pytest.approx(by_scipy(sessions), abs=0.03)


def test_a_file_is_itself_under_any_name(data: Path, tmp_path: Path) -> None:
    """Three of the test's pictures are training pictures: by a detour, by a link, and plainly."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.png").symlink_to(data / "train/1.png")
    rows = [row | {"image": str(data / row["image"])} for row in rows_of(data / "test.jsonl")]
    others = [str(tmp_path / "sub/../../") + "/" + os.path.relpath(data / "train/0.png", tmp_path.parent), "link.png"]
    rows += [
        {"id": f"x{i}", "image": name, "label": "red_thing"}
        for i, name in enumerate([*others, str(data / "train/2.png")])
    ]
    report = run(data, test=write(tmp_path / "test.jsonl", rows), what=("knn",), k=5)
    assert "test: 3 of 51 test items are also training items of the probe." in report.notes


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


def test_shots_that_nobody_asked_for_are_left_out_where_there_are_too_few_items(data: Path) -> None:
    report = run(data, what=("few_shot",))
    assert list(report.tables["test: few-shot linear probe"]["shots"]) == [1, 4]
    assert "test: few-shot: 16 shots are left out: 'blue_thing' has 10 training items." in report.notes


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
    n = len(first)
    assert 10 < n < 48
    a, b = pictured(data, "test")[first], named([rows[i]["text"] for i in first])
    assert record(report, "mutual_knn").chance == pytest.approx(10 / (n - 1))
    assert record(report, "uniformity_image").value == pytest.approx(
        math.log(np.exp(-2 * pdist(a, "sqeuclidean")).mean()), abs=1e-5
    )
    assert record(report, "uniformity_text").n == n
    apart = ((a - b) ** 2).sum(1)
    alignment = record(report, "alignment")
    assert alignment.value == pytest.approx(apart.mean(), rel=1e-5)
    assert (alignment.low, alignment.high) == pytest.approx(by_scipy(apart), abs=0.02)
    assert alignment.chance == pytest.approx(2 - 2 * a.mean(0) @ b.mean(0), rel=1e-5)
    assert record(report, "linear_separability").chance == 0.5
    d = (a - b) @ (a - b).T
    square = (d.sum() - np.trace(d)) / (n * (n - 1))
    assert record(report, "modality_gap").value == pytest.approx(math.sqrt(max(0, square)), abs=1e-5)
    cka = record(report, "linear_cka_debiased")
    assert (cka.value, cka.chance) == (pytest.approx(debiased(a, b), abs=1e-5), 0)
    for z, modality, fixed in ((a, "image", False), (b, "text", True)):
        weights = (1 + z @ z.T) / 2
        drawn = weights.sum(1) ** 2 / (weights**2).sum(1)
        mine = record(report, f"effective_positives_{modality}")
        assert mine.value == pytest.approx(drawn.mean(), rel=1e-5)
        assert mine.context["guide"] is fixed
        assert 1 < mine.low < mine.high < n
    pictures = ["test: image-image similarity", "test: text-text similarity", "test: image-text similarity"]
    assert list(report.figures) == pictures
    assert len(report.predictions) == 0


def test_neighbours_on_which_both_agree(data: Path, tmp_path: Path) -> None:
    """24 pictures of mixed colours and texts that name the mixture roughly: the ten nearest of each, sorted by hand."""
    rng = np.random.default_rng(0)
    parts = rng.integers(1, 30, (24, 3))
    texts = [" ".join(w for w, n in zip(("red", "green", "blue"), p, strict=True) for _ in range(n)) for p in parts]
    rows = []
    for i, text in enumerate(texts):
        paint(tmp_path / f"{i}.png", tuple(np.clip(parts[i] / 30 + 0.1 * rng.standard_normal(3), 0, 1)))
        rows.append({"id": str(i), "image": f"{i}.png", "text": text, "label": "x"})
    report = run(data, train=None, test=write(tmp_path / "mixed.jsonl", rows), what=("diagnostics",))
    pixels = [np.asarray(Image.open(tmp_path / f"{i}.png"), float).reshape(-1, 3).mean(0) for i in range(24)]
    spaces, shared = (unit([p / 255 + 1e-3 for p in pixels]), named(texts)), []
    for i in range(24):
        near = [sorted((j for j in range(24) if j != i), key=lambda j: -z[i] @ z[j])[:10] for z in spaces]
        shared.append(len(set(near[0]) & set(near[1])) / 10)
    assert record(report, "mutual_knn").value == pytest.approx(np.mean(shared))
    assert 10 / 23 < np.mean(shared) < 1


def test_four_pairs_are_too_few_for_cka_and_neighbours_alone(data: Path, tmp_path: Path) -> None:
    rows = [row | {"image": str(data / row["image"])} for row in rows_of(data / "test.jsonl")[:4]]
    report = run(data, train=None, test=write(tmp_path / "few.jsonl", rows), what=("diagnostics",))
    assert "modality_gap" in {r.metric for r in report.records}
    assert not {"mutual_knn", "linear_cka_debiased"} & {r.metric for r in report.records}


def debiased(a: np.ndarray, b: np.ndarray) -> float:
    """Linear CKA from Gram matrices, by the unbiased HSIC of Song et al. 2012."""
    n, one = len(a), np.ones(len(a))
    K, L = (z @ z.T * (1 - np.eye(n)) for z in (a, b))

    def hsic(K: np.ndarray, L: np.ndarray) -> float:
        sums = (one @ K @ one) * (one @ L @ one) / ((n - 1) * (n - 2))
        return float(np.trace(K @ L) + sums - 2 / (n - 2) * (one @ K @ L @ one))

    return hsic(K, L) / math.sqrt(hsic(K, K) * hsic(L, L))


def test_class_names_stand_in_for_captions(data: Path, tmp_path: Path) -> None:
    rows = [{**row, "image": str(data / row["image"])} for row in rows_of(data / "test.jsonl")]
    for row in rows:
        del row["text"]
    report = run(data, train=None, test=write(tmp_path / "named.jsonl", rows), what=("diagnostics",))
    a, b = pictured(data, "test"), named([row["label"].replace("_", " ") for row in rows])
    assert record(report, "alignment").value == pytest.approx(((a - b) ** 2).sum(1).mean(), rel=1e-5)
    assert record(report, "alignment").context["texts"] == "class names"
    assert not {"mutual_knn", "linear_cka_debiased", "uniformity_text"} & {r.metric for r in report.records}
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
    report = run(data, train=tmp_path / "test.parquet", test=tmp_path / "test.parquet", what=("knn",), k=1)
    assert "test: 48 of 48 test items are also training items of the probe." in report.notes
