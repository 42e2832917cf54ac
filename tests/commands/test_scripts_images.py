"""The scripts over images and texts from outside, as a user runs them, on two small runs of plain colours.

Named `test_eval_NAME`, one per script, as test_scripts.py asks. Each runs in a process of its own once; what else it
can do is called in this process, which saves seconds.
"""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from picture_runs import COLOURS, make_pictures, train
from run_script import in_process, rows_of, works

from xmodal import load
from xmodal.report.record import Record
from xmodal.report.report import Report, read_report

Call = Callable[..., list[str]]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory, pictures: Path, tiny_bert: Path) -> dict[Path, Report]:
    """Two runs, and the report that each wrote when it had trained."""
    folder = tmp_path_factory.mktemp("runs")
    steps = {"cl": ("infonce", 40), "cwcl": ("cwcl", 20)}
    return {folder / name: train(folder / name, pictures, tiny_bert, *rest) for name, rest in steps.items()}


@pytest.fixture(scope="module")
def run(reports: dict[Path, Report]) -> Path:
    return next(iter(reports))


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a script in this process, started in `tmp_path`: the lines it prints."""
    monkeypatch.chdir(tmp_path)

    def called(name: str, *arguments: str | Path) -> list[str]:
        code = in_process(name, *arguments)
        printed = capsys.readouterr()
        assert code == 0, printed.err
        return printed.out.splitlines()

    return called


def record(report: Report, metric: str) -> Record:
    [found] = [r for r in report.records if r.metric == metric]
    return found


def test_eval_zero_shot(run: Path, reports: dict[Path, Report], pictures: Path, tmp_path: Path, call: Call) -> None:
    # what the run's config names: the report that training wrote
    trained = reports[run]
    printed = works("eval/zero_shot.py", run, cwd=tmp_path)
    assert printed[-1] == f"report: {run}/report/report.html"
    numbers = {r.name: (r.value, r.low, r.high) for r in trained.records}
    assert {r.name: (r.value, r.low, r.high) for r in read_report(run / "report").records} == numbers
    assert 0.3 < trained.value("seen/acc1") < 1
    assert any(line.split()[:3] == ["seen", "acc1", f"{trained.value('seen/acc1'):.3f}"] for line in printed)

    # the same pictures as class folders, and two of the classes
    folder, prompts = pictures / "photos", pictures / "prompts.yaml"
    called = f"{pictures.name}-photos"
    printed = call("eval/zero_shot.py", run, "--dataset", folder, "--prompts", prompts)
    assert printed[-1] == f"report: {run}/zero_shot-{called}-prompts/report.html"
    assert read_report(run / f"zero_shot-{called}-prompts").value(f"{called}/acc1") == trained.value("seen/acc1")
    options = ["--dataset", folder, "--classes", "red", "blue", "--prompts", prompts, "--out", "two"]
    assert call("eval/zero_shot.py", run, *options)[-1] == "report: two/report.html"
    two = record(read_report(tmp_path / "two"), "acc1")
    assert (two.n, two.chance, two.context["candidates"]) == (12, 0.5, ["red", "blue"])

    # a suite: what is finished is not done again
    suite = {
        "all": {"kind": "zero_shot", "test": str(folder), "prompts": str(prompts)},
        "two": {"kind": "zero_shot", "test": str(folder), "prompts": str(prompts), "classes": ["red", "blue"]},
    }
    (tmp_path / "colours.yaml").write_text(json.dumps(suite))
    call("eval/zero_shot.py", run, "--suite", "colours.yaml")
    report = read_report(run / "suite-colours")
    mean = next(r for r in report.records if r.dataset == "mean over the suite" and r.metric == "acc1")
    assert mean.value == pytest.approx((trained.value("seen/acc1") + two.value) / 2)
    written = {path: path.stat().st_mtime_ns for path in (run / "suite-colours" / "tests").rglob("report.json")}
    shutil.rmtree(run / "suite-colours" / "tests" / "two")
    again = call("eval/zero_shot.py", run, "--suite", "colours.yaml")
    assert again[-1] == f"report: {run}/suite-colours/report.html"
    kept = run / "suite-colours" / "tests" / "all" / "report.json"
    assert kept.stat().st_mtime_ns == written[kept]
    assert read_report(run / "suite-colours").records == report.records


@pytest.mark.slow
def test_eval_retrieval(run: Path, reports: dict[Path, Report], pictures: Path, tmp_path: Path, call: Call) -> None:
    printed = works("eval/retrieval.py", run, cwd=tmp_path)
    assert printed[-1] == f"report: {run}/retrieval/report.html"
    report = read_report(run / "retrieval")
    trained = {r.name: r.value for r in reports[run].records if r.dataset == "found"}
    assert {r.name: r.value for r in report.records} == pytest.approx(trained)
    assert {"found: text to image", "found: image to text"} <= report.figures.keys()
    # twelve captions, each of six pictures; a random order finds one among the first of 24 with chance 1/4
    hit = record(report, "text_to_image_recall@1")
    assert (hit.n, hit.context["gallery"], hit.context["positives"]) == (12, 24, 6)
    assert hit.chance == pytest.approx(0.25)
    assert hit.value > 0.5

    rows = rows_of(pictures / "test.jsonl")
    mine = [{**row, "image": str(pictures / row["image"]), "text": row["text"][0]} for row in rows[:8]]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in mine))
    printed = call("eval/retrieval.py", run, "--test", "mine.jsonl", "--k", "1", "3", "--out", "found")
    assert printed[-1] == "report: found/report.html"
    report = read_report(tmp_path / "found")
    assert record(report, "image_to_text_recall@3").n == 8
    assert record(report, "text_to_image_recall@1").n == 4
    assert "text_to_image_recall@5" not in {r.metric for r in report.records}


@pytest.mark.slow
def test_eval_robustness(reports: dict[Path, Report], pictures: Path, tmp_path: Path, call: Call) -> None:
    runs, prompts = list(reports), pictures / "prompts.yaml"
    options = ["--dataset", pictures / "test.jsonl", "--prompts", prompts, "--k", "1", "2", "--out", "templates"]
    printed = works("eval/robustness.py", *runs, *options, cwd=tmp_path)
    assert printed[-1] == "report: templates/report.html"
    report = read_report(tmp_path / "templates")
    for run in runs:  # all templates together: what zero-shot classification found
        assert report.value(f"accuracy_all: {run.name}") == pytest.approx(reports[run].value("seen/acc1"))
    difference = report.value("accuracy_all: cl - cwcl")
    assert difference == pytest.approx(reports[runs[0]].value("seen/acc1") - reports[runs[1]].value("seen/acc1"))
    assert difference > 0.1
    ranking = report.tables["Templates, ranked"].set_index("template")
    assert set(ranking.index) == {"some {c}", "{c}", "{c} please"}
    rows, encoder = rows_of(pictures / "test.jsonl"), load(runs[0])
    names = sorted(COLOURS)
    z = encoder.encode("image", [pictures / row["image"] for row in rows])
    answers = (z @ encoder.encode("text", [f"some {name}" for name in names]).T).argmax(1).tolist()
    right = [names[at] == row["label"] for at, row in zip(answers, rows, strict=True)]
    assert ranking.loc["some {c}", "cl: accuracy"] == pytest.approx(np.mean(right))

    # what zero-shot classification has embedded is not read again: what the files hold now does not matter
    shutil.copytree(pictures / "photos", tmp_path / "photos")
    options = ["--dataset", "photos", "--prompts", prompts]
    call("eval/zero_shot.py", runs[0], *options)

    def read(*_: object, **__: object) -> None:
        raise AssertionError("an image was read again")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xmodal.data.reading.read_image", read)
        call("eval/robustness.py", runs[0], *options, "--k", "1", "--no-perturbations")
    report = read_report(runs[0] / f"robustness-{tmp_path.name}-photos")
    assert report.value("accuracy_all") == reports[runs[0]].value("seen/acc1")


@pytest.mark.slow
def test_eval_probe(run: Path, pictures: Path, tmp_path: Path) -> None:
    options = ["--train", pictures / "train.jsonl", "--test", pictures / "test.jsonl", "--k", "3", "--shots", "4"]
    printed = works("eval/probe.py", run, *options, cwd=tmp_path)
    assert printed[-1] == f"report: {run}/probe-{pictures.name}-test/report.html"
    report = read_report(run / f"probe-{pictures.name}-test")
    encoder = load(run)
    train_rows, test_rows = (rows_of(pictures / f"{split}.jsonl") for split in ("train", "test"))
    z, z_test = (
        encoder.encode("image", [pictures / row["image"] for row in rows]).numpy() for rows in (train_rows, test_rows)
    )
    right = []
    for item, row in zip(z_test, test_rows, strict=True):
        cosines = z @ item
        votes = dict.fromkeys(COLOURS, 0.0)
        for at in np.argsort(-cosines)[:3]:
            votes[train_rows[at]["label"]] += np.exp(cosines[at] / 0.07)
        right.append(max(votes, key=votes.__getitem__) == row["label"])
    assert report.value("test/knn") == pytest.approx(np.mean(right))
    assert record(report, "few_shot_4").context["training_items"] == 16
    assert report.value("test/linear") > 0.5
    # diagnostics take every caption once: of these pictures the first four
    captions = encoder.encode("text", [row["text"][0] for row in test_rows[:4]]).numpy()
    apart = (z_test[:4] - captions).astype(float)
    products = apart @ apart.T  # without the products of a pair with itself: unbiased
    gap = math.sqrt(max(0, products.sum() - np.trace(products)) / 12)
    assert report.value("test/modality_gap") == pytest.approx(gap, abs=1e-4)


def test_eval_embed(run: Path, pictures: Path, tmp_path: Path, call: Call) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(pictures / "photos", photos)
    (photos / "red" / "broken.png").write_bytes(b"")
    printed = works("eval/embed.py", run, "photos", "--out", "photos.parquet", cwd=tmp_path)
    assert printed[0].startswith("not read: red/broken.png: ")
    assert printed[-1] == "photos.parquet: 24 of 25 items, 32 dimensions"
    table = pq.read_table(tmp_path / "photos.parquet")
    assert table["id"].to_pylist() == sorted(f"{p.parent.name}/{p.name}" for p in pictures.glob("photos/*/*.png"))
    z = load(run).encode("image", [photos / name for name in table["id"].to_pylist()]).numpy()
    np.testing.assert_allclose(np.array(table["embedding"].to_pylist()), z, atol=1e-6)

    before = (tmp_path / "photos.parquet").read_bytes()
    with pytest.raises(AssertionError, match=r"photos.parquet: exists; choose another name, or give --overwrite"):
        call("eval/embed.py", run, "photos", "--out", "photos.parquet")
    assert (tmp_path / "photos.parquet").read_bytes() == before

    (tmp_path / "words.txt").write_text("the red\n\nthe blue\n")
    printed = call("eval/embed.py", run, "words.txt", "--modality", "text", "--out", "words.npy")
    assert printed == ["words.npy: 2 of 2 items, 32 dimensions"]
    np.testing.assert_allclose(
        np.load(tmp_path / "words.npy"), load(run).encode("text", ["the red", "the blue"]).numpy(), atol=1e-6
    )
    assert json.loads((tmp_path / "words.json").read_text())["texts"] == ["the red", "the blue"]


def test_eval_search(run: Path, pictures: Path, tmp_path: Path, call: Call) -> None:
    call("eval/embed.py", run, pictures / "photos", "--out", "photos.parquet")
    printed = works("eval/search.py", "photos.parquet", run, "the red", "--k", "3", "--html", "red.html", cwd=tmp_path)
    assert printed[-1] == "page: red.html"
    scores, names = zip(*(line.split() for line in printed[:-1]), strict=True)
    assert names[0].startswith("red/")
    encoder = load(run)
    files = sorted(pictures.glob("photos/*/*.png"))
    cosines = (encoder.encode("image", files) @ encoder.encode("text", ["the red"]).T).numpy()[:, 0]
    best = np.argsort(-cosines)[:3]
    assert names == tuple(f"{files[at].parent.name}/{files[at].name}" for at in best)
    assert scores == tuple(f"{cosines[at]:+.3f}" for at in best)
    assert (tmp_path / "red.html").read_text().count("data:image/png;base64,") == 3  # small ones stay as they are

    picture = files[5]  # by itself: it finds itself
    printed = call("eval/search.py", "photos.parquet", run, picture, "--modality", "image", "--k", "1")
    assert printed == [f"+1.000  {picture.parent.name}/{picture.name}"]
    assert set(COLOURS) == {p.name for p in (pictures / "photos").iterdir()}
