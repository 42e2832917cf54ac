"""Pages in a real browser, at the width of a desk and of a hand: no error, every picture there, nothing sticks out."""

import io
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from browser import Browser
from picture_runs import make_pictures, train
from PIL import Image

from xmodal import load
from xmodal.evaluation.classification.zero_shot import ZeroShot
from xmodal.evaluation.embeddings.export import embed_items
from xmodal.evaluation.embeddings.found_items import find_items
from xmodal.evaluation.embeddings.page import page
from xmodal.evaluation.embeddings.search import SearchIndex
from xmodal.evaluation.probes.probe_report import ProbePlan, probe_report
from xmodal.evaluation.robustness.robustness_report import robustness_report
from xmodal.evaluation.runs.compare import compare_runs
from xmodal.report import Record, Report, read_report
from xmodal.report.examples import Example

WIDTHS = (1280, 400)  # pixels
DOCS = Path(__file__).resolve().parent.parent / "docs"


def test_reports(browser: Browser, tiny_bert: Path, tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path)
    train(tmp_path / "run", pictures, tiny_bert)  # zero-shot with its worst errors, retrieval with its hits
    encoder = load(tmp_path / "run")
    spec = ZeroShot.Spec(test=pictures / "test.jsonl", prompts=str(pictures / "prompts.yaml"), trained=True)
    runs = {"contrastive": encoder, "cross-modal, weighted": encoder}
    robustness_report(runs, ZeroShot(spec), "colours", (1, 2)).write(tmp_path / "robustness")
    embedded = embed_items(encoder, "image", find_items(pictures / "photos", "image", "image"))
    answer = SearchIndex(embedded).query(encoder, "the red", k=7)
    (tmp_path / "search.html").write_text(page(embedded, [answer]))
    plan = ProbePlan(pictures / "test.jsonl", pictures / "train.jsonl", shots=(1,), k=1)
    probed = probe_report(encoder, plan)
    probed.write(tmp_path / "probe")
    shutil.copytree(tmp_path / "run" / "report", tmp_path / "other" / "report")
    _, compared = compare_runs(tmp_path / "run", tmp_path / "other", tmp_path / "compared")
    pages = {
        "run": (tmp_path / "run" / "report" / "report.html", pictures_of(read_report(tmp_path / "run" / "report"))),
        "probe": (tmp_path / "probe" / "report.html", len(probed.figures)),
        "compared": (compared / "report.html", len(read_report(compared).figures)),
        "committed": (DOCS / "robustness_cifar10" / "report.html", 2),
        "robustness": (tmp_path / "robustness" / "report.html", 2),
        "search": (tmp_path / "search.html", 7),
    }
    for name, (file, images) in pages.items():
        check(browser, file, images, tmp_path / name)


def png(width: int, height: int) -> bytes:
    picture = io.BytesIO()
    Image.new("RGB", (width, height), (90, 140, 200)).save(picture, format="PNG")
    return picture.getvalue()


def pictures_of(report: Report) -> int:
    return len(report.figures) + sum(
        each.suffix in (".png", ".jpg") for group in report.examples.values() for each in group
    )


def test_the_answer_comes_first_and_errors_can_be_heard(browser: Browser, tmp_path: Path) -> None:
    """Down the page: the answer and its warnings, the table, a picture, a recording that plays, how it was measured."""
    speech = io.BytesIO()
    soundfile.write(speech, np.sin(np.arange(16_000) / 5) / 3, 16_000, format="WAV", subtype="PCM_16")
    error = Example("u1", "lights_on", "lights_off", 0.4, speech.getvalue(), ".wav", "turn the lights on", "")
    Report(
        records=[
            Record("intents", f"{source}_{kind}", 0.6, 0.5, 0.7, 1796, 0.05, {"input": "speech", "class_vectors": kind})
            for source in ("accuracy", "oracle", "of_oracle", "cascade", "speech_minus_cascade")
            for kind in ("prompt", "mean")
        ],
        figures={"a picture": png(800, 300)},
        notes=["intents: the speech is synthetic (TTS)."],
        examples={"intents: the most confident errors": [error] * 3},
    ).write(tmp_path / "r")
    for width in WIDTHS:
        seen = browser.look(tmp_path / "r" / "report.html", width)
        assert seen.problems == []
        parts = [".said", ".warnings", ".sheet", ".picture img", "audio", "dl"]
        tops = browser.value(f"{parts}.map(part => document.querySelector(part).getBoundingClientRect().top)")
        assert tops == sorted(tops)
        assert tops[1] < 600  # pixels: on a phone's first screen
        assert browser.value("document.querySelector('.said').textContent").startswith("intents: 0.600 [0.500, 0.700]")
        assert browser.value("[...document.querySelectorAll('audio')].map(a => Math.round(a.duration))") == [1, 1, 1]
        assert browser.value("document.querySelector('dl').closest('details') !== null")  # folded, until one looks


def test_long_names(browser: Browser, tmp_path: Path) -> None:
    """Names without a space, notes with addresses, a table of thirty columns: they wrap, or scroll in their box."""
    name = "a_name_that_nobody_would_choose/" * 8
    Report(
        records=[Record(name, f"accuracy_of_{name}", 0.5, 0.4, 0.6, 1000, 0.1, {"candidates": [name] * 9, name: name})],
        provenance={"run": name, name: {"config": {"seed": 3}}},
        tables={f"Table {name}": pd.DataFrame(np.eye(30), columns=[f"column_{i}_of_thirty" for i in range(30)])},
        figures={f"Figure {name}": png(1600, 500)},
        notes=[f"see https://example.org/{name}"],
        examples={f"{name}: errors": [Example(name, name, name, 0.5, png(60, 40), ".png", name, name)]},
        title=f"Report {name}",
    ).write(tmp_path / "long")
    check(browser, tmp_path / "long" / "report.html", 2, tmp_path / "long")


def test_what_is_wrong_is_found(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(
        "<body><img alt='gone' src='nowhere.png'><img alt='broken' src='data:image/png;base64,AAAA'>"
        "<div style='width: 900px'>x</div><script>console.error('oh'); missing()</script></body>"
    )
    seen = browser.look(tmp_path / "page.html", 400)
    text = "\n".join(seen.problems)
    assert seen.images == 2
    for problem in (
        "missing picture: gone",
        "missing picture: broken",
        "wider than the page",
        "'oh'",
        "missing is not",
    ):
        assert problem in text, text
    (tmp_path / "page.html").write_text("<body><p>nothing wrong</p></body>")
    assert browser.look(tmp_path / "page.html", 400).problems == []


def check(browser: Browser, file: Path, images: int, name: Path) -> None:
    """No problem at any width; the screenshots stay beside the test's files, for people."""
    for width in WIDTHS:
        seen = browser.look(file, width)
        screenshot = name.with_name(f"{name.name}-{width}.png")
        screenshot.write_bytes(seen.screenshot)
        assert seen.problems == [], (screenshot, seen.problems)
        assert seen.images == images
        with Image.open(screenshot) as shown:
            assert shown.width == width
            assert shown.height > 300
            assert len(shown.convert("L").getcolors()) > 20
