"""The surest errors as they are heard in a report: the test's own recordings, and no more of them than is told."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from tones import RATE, TONES, pitch, save_tone

from xmodal.evaluation.classification.worst_errors import SHOWN, show_worst_errors
from xmodal.evaluation.shown import SECONDS
from xmodal.evaluation.test_sets.labelled import LabelledItems, read_labelled
from xmodal.files import write_json_lines
from xmodal.report.report import Report

WORDS = [word for word in TONES for _ in range(4)]


def recordings(folder: Path) -> LabelledItems:
    rows = []
    for number, word in enumerate(WORDS):
        seconds = SECONDS + 1.5 if number == 5 else 0.5
        save_tone(folder / f"{number}.wav", word, seconds)
        rows.append({"id": f"u{number}", "speech": f"{number}.wav", "text": f"say {word}", "label": word})
    write_json_lines(folder / "t.jsonl", rows)
    return read_labelled(folder / "t.jsonl", "speech", kinds={"speech": "audio"}, further=["text"])


def answers(scores: np.ndarray, wrong: np.ndarray) -> pd.DataFrame:
    ids, labels = [f"u{number}" for number in range(len(WORDS))], np.array(WORDS, dtype=object)
    predicted = np.where(wrong, "silence", labels)
    return pd.DataFrame({"item": ids, "true": labels, "predicted": predicted, "score": scores, "correct": ~wrong})


def test_the_surest_errors_are_heard(tmp_path: Path) -> None:
    test, report = recordings(tmp_path), Report()
    wrong = np.isin(np.arange(len(WORDS)), [1, 5, 9, 13])
    show_worst_errors(report, "t", answers(np.arange(len(WORDS)) / 100, wrong), test, "text")
    shown = report.examples["t: the most confident errors"]
    assert [(e.item, e.true, e.predicted, e.score) for e in shown] == [
        ("u13", "three", "silence", 0.13),
        ("u9", "two", "silence", 0.09),
        ("u5", "one", "silence", 0.05),
        ("u1", "zero", "silence", 0.01),
    ]
    for each in shown:
        heard, rate = soundfile.read(io.BytesIO(each.media))
        assert rate == RATE
        assert abs(pitch(heard, rate) - TONES[each.true]) < 20  # Hz
        assert each.said == f"say {each.true}"
        assert len(heard) / rate < SECONDS + 0.2
        assert each.cut == (f"(the first {SECONDS} of {SECONDS + 2} s)" if each.item == "u5" else "")


def test_so_many_and_no_more(tmp_path: Path) -> None:
    test, report = recordings(tmp_path), Report()
    (tmp_path / "2.wav").unlink()  # it is gone since it was embedded
    show_worst_errors(report, "t", answers(np.zeros(len(WORDS)), np.ones(len(WORDS), dtype=bool)), test)
    [shown] = report.examples.values()
    assert [e.item for e in shown] == [f"u{n}" for n in range(SHOWN["audio"]) if n != 2]
    assert not any(e.said for e in shown)
    assert report.notes == ["t: 1 of the surest errors cannot be read any more, and are not shown."]
    report = Report()
    show_worst_errors(report, "t", answers(np.zeros(len(WORDS)), np.zeros(len(WORDS), dtype=bool)), test)
    assert report.examples == {}


def test_a_libsndfile_without_mp3_writes_wav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test, report = recordings(tmp_path), Report()
    monkeypatch.setattr(soundfile, "available_formats", dict)
    show_worst_errors(report, "t", answers(np.zeros(len(WORDS)), np.arange(len(WORDS)) == 4), test)
    [shown] = report.examples["t: the most confident errors"]
    heard, rate = soundfile.read(io.BytesIO(shown.media))
    assert (shown.suffix, shown.type, rate) == (".wav", "audio/wav", RATE)
    assert abs(pitch(heard, rate) - TONES["one"]) < 20  # Hz
