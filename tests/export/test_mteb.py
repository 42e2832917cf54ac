"""Runs under mteb: its own evaluator over real data gives the numbers that xmodal's evaluators and embeddings give."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from encoders import encoder_of
from mteb_tasks_at_hand import (
    CIFAR10,
    HomeSTS,
    MovingPictures,
    PictureNames,
    SpokenWords,
    pictures,
    recordings,
    sentence_pairs,
)
from safetensors.torch import load_file
from scipy.stats import spearmanr

import xmodal
from xmodal.commands.cli import main
from xmodal.encoding.encoder import Encoder
from xmodal.errors import UserError, run_script
from xmodal.evaluation.classification.zero_shot import ZeroShot
from xmodal.evaluation.mteb_tasks import find_tasks, run_tasks
from xmodal.export.open_clip_folder import START, learned_scale
from xmodal.files import write_json_lines
from xmodal.towers.heads import Linear
from xmodal.towers.own.image_encoder import ImageEncoderTower
from xmodal.towers.own.speech_encoder import SpeechEncoderTower
from xmodal.towers.own.text_encoder import TextEncoderTower

SMALL = {"width": 16, "layers": 1, "heads": 2, "feed_forward": 32}


@pytest.fixture(scope="module")
def encoder(xmodal_data: Path) -> Encoder:
    return encoder_of(
        16,
        text=TextEncoderTower.Spec(head=Linear.Spec(), **SMALL),
        image=ImageEncoderTower.Spec(widths=(8, 16), head=Linear.Spec()),
        speech=SpeechEncoderTower.Spec(sample_rate=16000, strides=(2, 2, 2), head=Linear.Spec(), **SMALL),
    )


def accuracy(encoder: Encoder, test: Path, items: str, template: str) -> float:
    """What `xmodal zero-shot` says."""
    prompts = test.with_suffix(".yaml")
    prompts.write_text(f"- '{template}'\n")
    spec = ZeroShot.Spec(test=test, items=items, prompts=str(prompts), trained=True)
    report = ZeroShot(spec).evaluate(encoder, "test")
    [found] = [record.value for record in report.records if record.metric == "acc1"]
    assert found is not None
    return found


def test_text_similarity(encoder: Encoder, tmp_path: Path) -> None:
    [score] = run_tasks(encoder.as_mteb(), [HomeSTS()], tmp_path / "out", batch_size=7)
    first, second, same = zip(*sentence_pairs(), strict=True)
    cosines = (encoder.encode("text", first) * encoder.encode("text", second)).sum(1).numpy()
    expected = spearmanr(cosines, same).statistic
    assert abs(expected) > 0.01
    assert (score.task, score.split, score.metric) == ("HomeSTS", "test", "cosine_spearman")
    assert score.value == pytest.approx(expected, abs=1e-4)


def test_names_of_pictures(encoder: Encoder, tmp_path: Path) -> None:
    rows = []
    for number, (content, label) in enumerate(pictures()):
        (tmp_path / f"{number}.png").write_bytes(content)
        rows.append({"id": str(number), "image": f"{number}.png", "label": CIFAR10[label]})
    write_json_lines(tmp_path / "test.jsonl", rows)
    expected = accuracy(encoder, tmp_path / "test.jsonl", "image", "a photo of a {c}")
    [score] = run_tasks(encoder.as_mteb(), [PictureNames()], tmp_path / "out", batch_size=16)
    assert expected > 0
    assert score.value == pytest.approx(expected, abs=1e-4)


def test_words_that_people_said(encoder: Encoder, tmp_path: Path) -> None:
    heard = recordings()
    rows = [{"id": str(n), "speech": str(path), "label": word} for n, (path, word) in enumerate(heard)]
    write_json_lines(tmp_path / "test.jsonl", rows)
    expected = accuracy(encoder, tmp_path / "test.jsonl", "speech", "the word {c}")
    [score] = run_tasks(encoder.as_mteb(["text", "speech"]), [SpokenWords()], tmp_path / "out", batch_size=10)
    assert expected > 0
    assert score.value == pytest.approx(expected, abs=1e-4)


def test_what_mteb_notes_of_a_run(encoder: Encoder) -> None:
    meta = encoder.as_mteb().mteb_model_meta
    assert (meta.name, meta.embed_dim, meta.modalities) == ("xmodal/tiny", 16, ["audio", "image", "text"])
    assert len(meta.revision) == 40
    assert encoder.as_mteb(["text"]).mteb_model_meta.revision != meta.revision
    weight = encoder.towers["image"].head.weight
    before = weight.data.clone()
    weight.data += 1
    assert encoder.as_mteb().mteb_model_meta.revision != meta.revision
    weight.data.copy_(before)
    assert encoder.as_mteb().mteb_model_meta.revision == meta.revision


def test_recordings_of_several_rates_keep_their_order(encoder: Encoder) -> None:
    rng = np.random.default_rng(0)
    items = [
        {"array": 0.1 * rng.standard_normal(4 * rate // 10), "sampling_rate": rate} for rate in (8000, 16000, 8000)
    ]
    task = SpokenWords().metadata
    found = encoder.as_mteb().encode(iter([{"audio": items[:2]}, {"audio": items[2:]}]), task_metadata=task)
    alone = [encoder.encode("speech", [np.float32(x["array"])], sample_rate=x["sampling_rate"])[0] for x in items]
    np.testing.assert_allclose(found, np.stack(alone), atol=1e-5)


def test_a_task_of_the_folder_one_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mteb_task_here.py").write_text("from mteb_tasks_at_hand import HomeSTS\n\nHere = HomeSTS\n")
    (tmp_path / "mteb_task_broken.py").write_text("import no_such_package_at_all\n")
    assert type(find_tasks(["mteb_task_here:Here"])[0]).__name__ == "HomeSTS"
    with pytest.raises(UserError, match=r"mteb_task_broken:X cannot be imported \(No module named 'no_such_package_"):
        find_tasks(["mteb_task_broken:X"])
    (tmp_path / "mteb_task_wrong.py").write_text("class X(:\n")
    with pytest.raises(
        UserError, match=r"X cannot be imported \(\S+mteb_task_wrong\.py line 1: invalid syntax: correct it"
    ):
        find_tasks(["mteb_task_wrong:X"])
    (tmp_path / "mteb_task_raises.py").write_text("raise RuntimeError('no\\ngood')\n")
    with pytest.raises(UserError, match=r"mteb_task_raises\.py line 1: RuntimeError: no good; --debug shows all"):
        find_tasks(["mteb_task_raises:X"])


@pytest.mark.parametrize("name", ["AbsTask", "AbsTaskRetrieval"])  # one is abstract, one lacks its metadata
def test_a_class_that_cannot_be_made(name: str) -> None:
    with pytest.raises(
        UserError, match=rf"^--tasks: mteb.abstasks:{name} cannot be made \(.*\); expected a class with m"
    ):
        find_tasks([f"mteb.abstasks:{name}"])


@pytest.fixture
def lines() -> Iterator[list[str]]:
    said: list[str] = []
    yield said
    assert all("\n" not in line for line in said)


def test_what_a_run_lacks_is_one_line(encoder: Encoder, lines: list[str], tmp_path: Path) -> None:
    def refused(task: object, match: str, modalities: list[str] | None = None) -> None:
        with pytest.raises(UserError, match=match) as error:
            run_tasks(encoder.as_mteb(modalities), [task], tmp_path / "out")
        lines.append(str(error.value))

    refused(MovingPictures(), "MovingPictures: needs text, video, and runs/tiny encodes audio, image, text")
    refused(PictureNames(), "PictureNames: needs image, text, and runs/tiny encodes audio, text", ["text", "speech"])
    task = PictureNames().metadata
    batch = {"image": [object()], "text": ["a cat"]}
    with pytest.raises(UserError, match="an item holds text and image; expected one"):
        encoder.as_mteb().encode(iter([batch]), task_metadata=task)
    with pytest.raises(UserError, match=r"STSBenchmrk.*Did you mean.*STSBenchmark"):
        find_tasks(["STSBenchmrk"])
    with pytest.raises(UserError, match="no such class; there: "):
        find_tasks(["mteb_tasks_at_hand:Nothing"])
    assert not (tmp_path / "out").exists()


def command(*arguments: str | Path) -> int:
    return run_script(main, [str(argument) for argument in arguments])


def test_the_commands_on_a_run(
    xmodal_data: Path, tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    xmodal_run = tmp_path / "run"
    assert command("train", tiny_config, "train.steps=2", "evaluators={}") == 0
    capsys.readouterr()
    assert command("mteb", xmodal_run, "--tasks", "mteb_tasks_at_hand:HomeSTS") == 0
    told = capsys.readouterr().out.splitlines()
    first, second, same = zip(*sentence_pairs(), strict=True)
    encoder = xmodal.load(xmodal_run)
    cosines = (encoder.encode("text", first) * encoder.encode("text", second)).sum(1).numpy()
    assert told[0].split()[:3] == ["HomeSTS", "cosine_spearman", f"{spearmanr(cosines, same).statistic:.4f}"]
    [result] = (xmodal_run / "mteb").rglob("HomeSTS.json")
    assert json.loads(result.read_text())["task_name"] == "HomeSTS"
    assert command("mteb", xmodal_run, "--tasks", "mteb_tasks_at_hand:PictureNames") == 2
    assert "PictureNames: needs image, text" in capsys.readouterr().err
    assert command("export", xmodal_run, tmp_path / "out", "--format", "onnx", "--modalities", "speech") == 0
    assert (tmp_path / "out/embed.py").is_file()
    kept = load_file(xmodal_run / "model.safetensors")
    [log_scale] = [value for name, value in kept.items() if name.endswith("log_scale")]
    assert learned_scale(xmodal_run) == float(log_scale) != START
    assert learned_scale(None) is None
    capsys.readouterr()
    assert command("export", xmodal_run, tmp_path / "st", "--format", "sentence-transformers") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "speech: sentence-transformers cannot hold it" in error
    assert not (tmp_path / "st").exists()
