"""The page in a real browser: what is said is understood, what is dropped is ranked, no file is handed out."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from colour_encoder import colour_encoder, paint
from page_driver import Opened, browser_hearing, for_microphone, free_port, opened

from xmodal.app.models import Model, load_models
from xmodal.app.ranking import rank
from xmodal.app.serving import served
from xmodal.app.shelf import open_shelf
from xmodal.app.tasks import tasks_of
from xmodal.config.load import load_config
from xmodal.evaluation.embeddings.export import embed_items, write_embeddings
from xmodal.evaluation.embeddings.found_items import find_items
from xmodal.training.trainer import Trainer

SPOKEN = "stop_lights_5"  # a recording that the run was not trained on


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photos/ with five pictures and notes.txt, and photos.parquet; secret.txt beside them."""
    folder = tmp_path_factory.mktemp("app")
    for colour in ("red", "green", "blue", "yellow", "white"):
        paint(folder / "photos" / f"{colour} & more.png", colour)
    (folder / "secret.txt").write_text("a secret")
    encoder = colour_encoder()
    embedded = embed_items(encoder, "image", find_items(folder / "photos", "image", "image"))
    write_embeddings(folder / "photos.parquet", embedded)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path, tiny_pairs: Path) -> list[Model]:
    """A run that tells four words of tones apart, an encoder of colours, and another one that mistakes them."""
    output = tmp_path_factory.mktemp("speech") / "tones"
    path = output.with_suffix(".yaml")
    path.write_text(
        f"""
output: {output}
data: {{train: {tiny_pairs / "train.jsonl"}}}
towers:
  speech:
    {{kind: speech_encoder, sample_rate: 8000, mels: 20, fft: 256, high: 3900, width: 32,
      layers: 1, heads: 2, feed_forward: 32, strides: [2, 2]}}
  text: {{kind: transformers, name: {tiny_bert}}}
objective: {{kind: infonce}}
optim: {{lr: 5e-3}}
train: {{steps: 60, batch_size: 12, threads: 1}}
evaluators:
  held: {{kind: speech_intent, test: {tiny_pairs / "test.jsonl"}, prompts: plain, synthetic: true}}
"""
    )
    Trainer(load_config(path)).fit()
    seeing = [colour_encoder("colours"), colour_encoder("bent", seed=3)]
    found = [Model(encoder.name, encoder, tuple(tasks_of(encoder, {}, "plain"))) for encoder in seeing]
    return [*load_models([str(output)], prompts="plain"), *found]


@pytest.fixture(scope="module")
def address(models: list[Model], folder: Path) -> Iterator[str]:
    pytest.importorskip("gradio", reason="gradio is not installed: there is no page")
    shelf = open_shelf(folder / "photos.parquet")

    def build() -> Any:
        from xmodal.app.page import build_page

        return build_page(models, shelf, models[1:2])

    with served(build, free_port(), most_mb=1) as found:
        yield found


@pytest.fixture(scope="module")
def browser(tiny_pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    said = for_microphone(tiny_pairs / f"{SPOKEN}.wav", tmp_path_factory.mktemp("said") / "said.wav")
    with browser_hearing(said) as found:
        yield found


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Opened]:
    with opened(browser, address) as found:
        yield found
        assert not found.is_too_wide
        assert found.foreign == []
        assert found.problems == []


def test_what_is_said_is_understood(page: Opened) -> None:
    page.page.get_by_label("What it may mean").fill("play\nstop\nset\ncall")
    page.speak(2.5)
    assert page.wait(".xm-best") == "stop"
    assert "This model knows no speech." in page.wait(".xm-answer", "colours")
    assert "the speech is synthetic (TTS)" in page.wait(".xm-caution")


@pytest.mark.slow
def test_a_dropped_recording(page: Opened, tiny_pairs: Path) -> None:
    page.page.get_by_label("What it may mean").fill("<b>music</b>\nplay\nset")
    page.page.get_by_label("Upload file").first.click()
    page.drop(tiny_pairs / "play_alarm_5.wav")
    page.wait(".xm-best")
    assert "<b>music</b>" in page.wait(".xm-ranking")


@pytest.mark.slow
def test_a_picture_and_the_models_side_by_side(page: Opened, folder: Path, models: list[Model]) -> None:
    page.page.get_by_role("tab", name="Picture").click()
    page.page.get_by_label("What it may show").locator("visible=true").fill("green\nred\nblue and red")
    page.drop(folder / "photos" / "red & more.png")
    assert page.wait(".xm-best") == "red"
    for model in models[1:]:
        found = rank(
            model.encoder, model.tasks[0], folder / "photos" / "red & more.png", ["green", "red", "blue and red"]
        )
        best, score = found.scores[0]
        assert page.wait(".xm-answer", f"score {score:.3f}").split()[:2] == [model.name, best.split()[0]]
    assert "This model knows no picture." in page.wait(".xm-answer", "tones")
    page.page.get_by_label("What it may show").locator("visible=true").fill(" \n")
    page.page.get_by_role("button", name="Rank them").locator("visible=true").click()
    assert page.wait(".xm-mistake") == "Nothing to choose from: type some lines, one for each"


@pytest.mark.slow
def test_search_with_thumbnails_on_a_phone(browser: Any, address: str, folder: Path) -> None:
    with opened(browser, address, width=400) as page:
        page.page.get_by_role("tab", name="Search").click()
        field = page.page.get_by_label("Look for")
        field.fill("blue")
        field.press("Enter")
        assert page.wait(".xm-hits li").split() == ["blue", "&", "more.png", "1.000"]
        pictures = page.page.locator(".xm-hits img").all()
        assert len(pictures) == 5
        assert all(each.evaluate("e => e.decode().then(() => e.naturalWidth)") == 8 for each in pictures)
        page.page.get_by_role("tab", name="By image").click()
        page.drop(folder / "photos" / "yellow & more.png")
        page.wait(".xm-hits li:first-child", "yellow")
        assert not page.is_too_wide
        assert page.problems == page.foreign == []


def test_what_cannot_be_used_is_told_in_one_line(page: Opened, tmp_path: Path) -> None:
    (tmp_path / "letter.wav").write_text("Dear Sir or Madam")
    (tmp_path / "huge.wav").write_bytes(bytes(1_100_000))
    (tmp_path / "letter.txt").write_text("Dear Sir or Madam")
    page.page.get_by_label("Upload file").first.click()
    page.drop(tmp_path / "huge.wav")
    assert 'File(s) exceed the maximum allowed size of 1.0 Mb: "huge.wav"' in page.wait(".toast-body")
    page.drop(tmp_path / "letter.txt")
    assert "Invalid file type: letter.txt." in page.wait(".toast-body", "letter.txt")
    page.drop(tmp_path / "letter.wav")
    told = "letter.wav: cannot be decoded (Format not recognised); expected WAV, FLAC, OGG or MP3"
    assert page.wait(".xm-mistake") == told
    assert "Traceback" not in page.page.content()


def status(url: str, **head: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=head)) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize(
    "path",
    [
        "{folder}/photos/red & more.png",
        "{folder}/secret.txt",
        "{folder}/photos/../secret.txt",
        "{folder}/photos.parquet",
        "{folder}/photos",
        "/etc/hostname",
        "pyproject.toml",
    ],
)
def test_no_file_of_this_machine_is_handed_out(path: str, address: str, folder: Path) -> None:
    url = f"{address}gradio_api/file={quote(path.format(folder=folder), safe='/')}"
    assert status(url) == 403


def test_the_page_answers_to_names_of_this_machine_alone(address: str) -> None:
    """Another site may have its own name lead to 127.0.0.1, and its scripts then read what is there."""
    own = address.removeprefix("http://").strip("/")
    for path in ("", "config", "gradio_api/info"):
        for host in (own, own.replace("127.0.0.1", "localhost"), "localhost"):
            assert status(address + path, Host=host) == 200
        for host in ("evil.com", f"evil.com:{own.partition(':')[2]}", "localhost.evil.com", "127.0.0.1.evil.com"):
            assert status(address + path, Host=host) == 400


def test_a_path_of_this_machine_is_no_upload(address: str, folder: Path) -> None:
    """What the page sends is an upload's place on the server: another place is not read."""
    file = {"path": str(folder / "secret.txt"), "meta": {"_type": "gradio.FileData"}}
    sent = {"data": [file, "stop\nplay", "names of things"], "fn_index": 0, "session_hash": "abc"}
    head = {"Content-Type": "application/json"}
    join = urllib.request.Request(f"{address}gradio_api/queue/join", json.dumps(sent).encode(), head)
    with (
        urllib.request.urlopen(join),
        urllib.request.urlopen(f"{address}gradio_api/queue/data?session_hash=abc") as said,
    ):
        lines = [json.loads(line.removeprefix(b"data: ")) for line in said if line.startswith(b"data: ")]
    [done] = [line for line in lines if line["msg"] == "process_completed"]
    assert done["success"] is False
    assert "a secret" not in json.dumps(lines)
