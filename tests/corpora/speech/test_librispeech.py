"""LibriSpeech in miniature."""

from pathlib import Path

import pytest
from sounds import empty, left_out, record, rows_of

from xmodal.corpora.speech.librispeech import prepare
from xmodal.errors import UserError

SPEAKERS = """; ID | SEX | SUBSET | MINUTES | NAME
84   | F | dev-clean  |  8.02 | Christie | Nowak
174  | M | dev-clean  |  8.04 | Peter
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    root = tmp_path / "LibriSpeech"
    texts = {
        "84/121123": [
            "84-121123-0000 GO DO YOU HEAR",
            "84-121123-0001 IT'S GONE",
            "84-121123-0002",
            "84-121123-0003 ZERO",
        ],
        "174/50561": ["174-50561-0000 FORGOTTEN TOO THE NAME"],
    }
    for chapter, lines in texts.items():
        folder = root / "dev-clean" / chapter
        for line in lines:
            name = line.split()[0]
            if not name.endswith(("0001", "0003")):
                record(folder / f"{name}.flac", rate=16_000)
        (folder / f"{chapter.replace('/', '-')}.trans.txt").write_text("\n".join(lines) + "\n")
    empty(root / "dev-clean" / "84" / "121123" / "84-121123-0003.flac")
    record(root / "dev-clean" / "84" / "121123" / "84-121123-0009.flac")
    (root / "SPEAKERS.TXT").write_text(SPEAKERS)
    return root


def test_rows(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = prepare(corpus.parent, out)
    assert {path.name: rows for path, rows in written.items()} == {"dev-clean.jsonl": 2, "dev-clean.skipped.jsonl": 4}
    found = {row["id"]: row for row in rows_of(out / "dev-clean.jsonl")}
    assert found["84-121123-0000"] == {
        "id": "84-121123-0000", "text": "go do you hear", "speaker": "84", "gender": "female", "chapter": "121123",
        "speech": str((corpus / "dev-clean/84/121123/84-121123-0000.flac").resolve()), "seconds": 0.1,
    }  # fmt: skip
    assert found["174-50561-0000"]["gender"] == "male"
    reasons = left_out(out / "dev-clean.jsonl")
    assert reasons.pop("84-121123-0003.flac").startswith("cannot be decoded")
    assert reasons == {
        "84-121123-0001.flac": "no such file",
        "84-121123.trans.txt: 84-121123-0002": "empty transcript",
        "84-121123-0009.flac": "no transcript",
    }


def test_what_is_missing(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected test-clean; found SPEAKERS\.TXT, dev-clean"):
        prepare(corpus, tmp_path / "out", splits=["test-clean"])
    (corpus / "SPEAKERS.TXT").write_bytes(b"\xff")
    with pytest.raises(UserError, match=r"SPEAKERS\.TXT: not UTF-8"):
        prepare(corpus, tmp_path / "out")
