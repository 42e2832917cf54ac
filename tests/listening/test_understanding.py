"""What an utterance means: scores by hand, vectors against plain means, and the same output twice."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch.nn.functional import normalize

from xmodal.commands.speech.listen import main
from xmodal.config.load import load_config
from xmodal.encoding.encoder import Encoder
from xmodal.encoding.loading import load
from xmodal.errors import UserError
from xmodal.listening.listening import Listener, clock
from xmodal.listening.segmentation import Waveform
from xmodal.listening.sources import Source, from_file
from xmodal.listening.understanding import LabelSet, Slot, Understanding, understanding_of
from xmodal.training.trainer import Trainer

INTENTS = ["--intent", "play=play some music,play it", "--intent", "stop=stop it", "--intent", "lights on"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A run of two steps over the tiny model and data."""
    bert, pairs = request.getfixturevalue("tiny_bert"), request.getfixturevalue("tiny_pairs")
    folder = tmp_path_factory.mktemp("listening")
    path = folder / "config.yaml"
    path.write_text(f"""
output: {folder / "run"}
data: {{train: {pairs / "train.jsonl"}}}
towers:
  speech: {{kind: speech_encoder, sample_rate: 8000, mels: 20, fft: 256, high: 3900, width: 16, layers: 1, heads: 2,
           feed_forward: 32, strides: [2, 2]}}
  text: {{kind: transformers, name: {bert}}}
train: {{steps: 2, batch_size: 10, threads: 1}}
""")
    Trainer(load_config(path)).fit()
    return folder / "run"


@pytest.fixture(scope="module")
def encoder(run: Path) -> Encoder:
    return load(run)


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Three of the tones with pauses between them."""
    pairs = request.getfixturevalue("tiny_pairs")
    parts = [np.zeros(8000)]
    for name in ("play_music_0", "stop_lights_1", "call_alarm_2"):
        parts += [soundfile.read(pairs / f"{name}.wav")[0], np.zeros(8000)]
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    soundfile.write(path, np.concatenate(parts), 8000)
    return path


def axes(*rows: list[float]) -> torch.Tensor:
    return normalize(torch.tensor(rows), dim=-1)


def test_the_best_label_its_score_and_its_margin() -> None:
    labels = LabelSet(("a", "b", "c"), axes([1.0, 0.0], [0.0, 1.0], [1.0, 1.0]))
    [(label, score, margin), tie] = labels.best(axes([3.0, 4.0], [1.0, 0.0]))
    assert (label, score, margin) == ("c", pytest.approx(1.4 / 2**0.5), pytest.approx(1.4 / 2**0.5 - 0.8))
    assert tie == ("a", pytest.approx(1), pytest.approx(1 - 0.5**0.5))
    assert labels.only(["b", "a"]).best(axes([1.0, 0.1]))[0][0] == "a"


def test_a_slot_is_told_where_its_intent_has_it_and_the_utterance_is_nearer_to_a_value_than_to_none() -> None:
    intents = LabelSet(("order", "cancel"), axes([1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]))
    values = LabelSet(("small", "large"), axes([1.0, 1.0, 0.0], [1.0, -1.0, 0.0]))
    absent = {"order": (values.vectors, axes([1.0, 0.0, 1.0])[0])}
    known = Understanding(intents, {"size": Slot(values, frozenset(["order"]), absent)})
    small, bare, cancel = known.meanings(axes([1.0, 0.5, 0.0], [1.0, 0.1, 0.6], [-1.0, 0.5, 0.0]))
    assert small.slots == {"size": ("small", pytest.approx(1.5 / (2 * 1.25) ** 0.5))}
    assert bare.slots == {}
    assert cancel.slots == {}
    assert [m.intent for m in (small, bare, cancel)] == ["order", "order", "cancel"]


def test_vectors_are_means_of_the_sentences(encoder: Encoder) -> None:
    rows = [
        {"text": "play some music", "slot": None, "of": "play"},
        {"text": "play it now", "slot": None, "of": "play"},
        {"text": "stop it", "slot": None, "of": "stop"},
        {"text": "play red", "slot": "colour", "of": "play", "colour": "red"},
        {"text": "play blue", "slot": "colour", "of": "play", "colour": "blue"},
        {"text": "play it", "slot": "colour", "of": "play", "colour": None},
    ]
    known = understanding_of(encoder, "text", rows)
    z = encoder.encode("text", ["play some music", "play it now"])
    torch.testing.assert_close(known.intents.vectors[0], normalize(z.mean(0), dim=0))
    slot = known.slots["colour"]
    torch.testing.assert_close(slot.values.vectors, encoder.encode("text", ["play red", "play blue"]))
    torch.testing.assert_close(slot.absent["play"][1], encoder.encode("text", ["play it"])[0])
    assert slot.intents == {"play"}
    with pytest.raises(UserError, match=r"1 intent \(play\), expected two or more to choose among"):
        understanding_of(encoder, "text", rows[:2])


def test_each_piece_is_what_the_encoder_makes_of_it_alone(encoder: Encoder, talk: Path) -> None:
    rows = [{"text": text, "slot": None, "of": text} for text in ("play some music", "stop it", "call now")]
    known = understanding_of(encoder, "text", rows)
    listener = Listener(encoder, "speech", known)
    heard = list(listener.listen(from_file(talk)))
    assert len(heard) == 3
    wave, rate = soundfile.read(talk, dtype="float32")
    for each in heard:
        piece = wave[round(each.start * rate) : round(each.end * rate)]
        scores = (encoder.encode("speech", [piece], rate) @ known.intents.vectors.T)[0]
        assert each.meaning.score == pytest.approx(float(scores.max()), abs=1e-5)
        assert each.meaning.intent == known.intents.labels[int(scores.argmax())]
    assert listener.seconds == pytest.approx(len(wave) / rate)
    assert "3 pieces of speech; real-time factor" in listener.summary()[0]


def test_two_runs_over_one_file_print_the_same(run: Path, talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def output(*more: str) -> tuple[str, str]:
        main([str(run), str(talk), *INTENTS, *more])
        found = capsys.readouterr()
        return found.out, found.err

    first, said = output()
    assert output()[0] == first
    assert len(first.splitlines()) == 3
    assert all("margin" in line for line in first.splitlines())
    assert "real-time factor" in said
    rows = [json.loads(line) for line in output("--json")[0].splitlines()]
    assert [f"{row['score']:.2f}" for row in rows] == [line.split("  ")[2][:4].strip() for line in first.splitlines()]
    none = output("--threshold", "2")[0]
    assert none.count("none of these (nearest: ") == 3
    labelled = output("--labels", "colour=red,blue")[0]
    assert labelled.count("colour=") == 3


def test_raw_samples_are_heard_as_the_file_is(
    run: Path, talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main([str(run), str(talk), *INTENTS])
    expected = capsys.readouterr().out
    samples, rate = soundfile.read(talk, dtype="int16")
    (tmp_path / "raw").write_bytes(samples.astype("<i2").tobytes())
    with (tmp_path / "raw").open() as raw:
        monkeypatch.setattr(sys, "stdin", raw)
        main([str(run), "-", "--rate", str(rate), *INTENTS])
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--intent", "stop=stop"], "expected two or more to choose among"),
        (["--intent", "a=", "--intent", "b"], "--intent: found 'a=', expected a name and phrases"),
        (["--intent", "a=x,z", "--intent", "b=Z"], "--intent: 'Z' is a phrase of a and of b; take it out of one"),
        (["--intent", "a=x", "--intent", "b=y", "--threshold", "nan"], "--threshold: found nan, expected a cosine"),
        (["--intent", "a=x", "--intent", "a=y"], "--intent: a is named twice; give all its phrases at once"),
        (["--labels", "size=small"], "--labels: found 'size=small', expected SET=VALUE,VALUE"),
        (["--rate", "0"], "--rate: found 0, expected a whole number, 1 or more"),
        ([], "give --intent or --phrases, or a run of xmodal teach"),
    ],
)
def test_a_mistake_is_one_line(more: list[str], line: str, run: Path, talk: Path) -> None:
    with pytest.raises(UserError) as error:
        main([str(run), str(talk), *more])
    assert line in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"text": "stop", "slot": None}, "sets.jsonl: line 1: no of, damaged; teach the run again, or give --intent"),
        ({"text": "stop", "slot": "size", "of": "stop"}, "sets.jsonl: line 1: no size, damaged; teach the run again"),
    ],
)
def test_what_teaching_wrote_may_be_damaged(row: dict[str, Any], line: str, run: Path, talk: Path) -> None:
    (run / "sets.jsonl").write_text(json.dumps(row) + "\n")
    try:
        with pytest.raises(UserError, match=line):
            main([str(run), str(talk)])
    finally:
        (run / "sets.jsonl").unlink()


def test_a_silent_file_says_so(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(32_000), 16_000)
    main([str(run), str(tmp_path / "silent.wav"), *INTENTS])
    found = capsys.readouterr()
    assert found.out == ""
    assert "nobody speaks: the loudest moment has -120 dB of full scale" in found.err


def test_a_sound_that_is_broken_off_is_summed_up(encoder: Encoder) -> None:
    def blocks() -> Iterator[Waveform]:
        yield np.zeros(32_000, np.float32)
        raise KeyboardInterrupt

    rows = [{"text": text, "slot": None, "of": text} for text in ("play some music", "stop it")]
    listener = Listener(encoder, "speech", understanding_of(encoder, "text", rows))
    with pytest.raises(KeyboardInterrupt):
        list(listener.listen(Source("microphone", 16_000, blocks(), [])))
    assert listener.loudest == pytest.approx(-120)
    assert listener.seconds == 2


@pytest.mark.parametrize(("seconds", "shown"), [(3.24, "0:03.2"), (59.96, "1:00.0"), (3723.4, "1:02:03.4")])
def test_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown
