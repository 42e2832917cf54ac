"""Common Voice in miniature: the release's tables, and rows that cannot be used."""

from pathlib import Path

import pytest
from sounds import contents, empty, left_out, record, rows_of

from xmodal.corpora.speech.common_voice import prepare
from xmodal.errors import UserError

HEADER = (
    "client_id path sentence_id sentence sentence_domain up_votes down_votes age gender accents variant locale segment"
)


def line(name: str, sentence: str, client: str = "c1", up: str = "2", age: str = "") -> str:
    values = [client, name, "s", sentence, "", up, "0", age, "", "", "", "en", ""]
    return "\t".join(values)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    root = tmp_path / "en"
    good = [line("a.mp3", 'He said "no".', age="teens"), line("b.mp3", "Yes.", "c2")]
    bad = [
        line("gone.mp3", "The clip is missing."),
        line("zero.mp3", "The clip is empty."),
        line("mute.mp3", " "),
        line("vote.mp3", "Votes are odd.", up="many"),
        line("nobody.mp3", "Who spoke?", client=""),
        "a line\tthat is short",
    ]
    for split, lines in {"train": good + bad, "dev": [line("d.mp3", "No.", "c3")], "validated": good}.items():
        root.mkdir(exist_ok=True)
        (root / f"{split}.tsv").write_text("\n".join([HEADER.replace(" ", "\t"), *lines]) + "\n", encoding="utf-8")
    for name in ("a", "b", "d", "vote", "nobody", "mute"):
        record(root / "clips" / f"{name}.mp3", seconds=0.4, rate=16_000)
    empty(root / "clips" / "zero.mp3")
    return root


def test_rows(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = prepare(corpus, out)
    assert {path.name: rows for path, rows in written.items()} == {
        "train.jsonl": 2, "train.skipped.jsonl": 6, "dev.jsonl": 1, "validated.jsonl": 2,
    }  # fmt: skip
    first, second = rows_of(out / "train.jsonl")
    assert first.pop("seconds") == pytest.approx(0.4, abs=0.1)
    assert first == {
        "id": "a", "speech": str((corpus / "clips" / "a.mp3").resolve()), "text": 'He said "no".', "speaker": "c1",
        "up_votes": 2, "down_votes": 0, "age": "teens", "locale": "en",
    }  # fmt: skip
    assert (second["speaker"], "age" in second) == ("c2", False)
    found = left_out(out / "train.jsonl")
    assert found.pop("zero.mp3").startswith("cannot be decoded")
    assert found == {
        "gone.mp3": "no such file",
        "mute.mp3": "empty sentence",
        "vote.mp3": "up_votes 'many' is no number",
        "nobody.mp3": "empty client_id",
        "train.tsv: line 9": "2 values, expected 13",
    }
    again = contents(out)
    prepare(corpus, out)
    assert contents(out) == again


def test_splits_and_limit(corpus: Path, tmp_path: Path) -> None:
    assert prepare(corpus, tmp_path / "out", limit=1, splits=["validated"]) == {tmp_path / "out" / "validated.jsonl": 1}
    with pytest.raises(UserError, match=r"en: expected test\.tsv; found clips, dev\.tsv"):
        prepare(corpus, tmp_path / "out", splits=["test"])
