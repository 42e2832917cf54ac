"""speechocean762: the official folder in miniature, and the real recordings with their manifest."""

import json
import logging
from pathlib import Path

import pytest
from sounds import empty, left_out, record, rows_of

from xmodal.corpora.speech.speechocean762 import prepare
from xmodal.errors import UserError


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    root = tmp_path / "speechocean762"
    texts = {
        "train": ["WE CALL IT BEAR", "ZERO THREE", "MARK IS GOING", "A B"],
        "test": ["ZERO THREE", "NEW", "", "GONE"],
    }
    (root / "resource").mkdir(parents=True)
    (root / "resource" / "scores.json").write_text(json.dumps({"train0": {"total": 8, "accuracy": 7, "words": []}}))
    for split, lines in texts.items():
        names = [f"{split}{n}" for n in range(4)]
        tables = {
            "wav.scp": [f"{name}\tWAVE/SPEAKER{name}/{name}.WAV" for name in names],
            "text": [f"{name}\t{line}".rstrip() for name, line in zip(names, lines, strict=True)],
            "utt2spk": [f"{name} s{name}" for name in names],
            "spk2age": [f"s{name} 6" for name in names],
            "spk2gender": [f"s{name} f" for name in names],
        }
        (root / split).mkdir()
        for table, rows in tables.items():
            (root / split / table).write_text("\n".join(rows) + "\n")
        for name in names[:3] if split == "test" else names:
            record(root / "WAVE" / f"SPEAKER{name}" / f"{name}.WAV", rate=16_000)
    (root / "train" / "utt2spk").write_text("train0 strain0\ntrain1 strain1\ntrain2 strain2\n")
    empty(root / "WAVE" / "SPEAKERtest3" / "test3.WAV")
    return root


def test_the_official_folder(corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = tmp_path / "out"
    with caplog.at_level(logging.WARNING):
        written = prepare(corpus, out)
    assert {path.name: rows for path, rows in written.items()} == {
        "train.jsonl": 2, "train.skipped.jsonl": 1, "dev.jsonl": 1, "test.jsonl": 2, "test.skipped.jsonl": 2,
    }  # fmt: skip
    train, dev = rows_of(out / "train.jsonl"), rows_of(out / "dev.jsonl")
    assert not {row["speaker"] for row in train} & {row["speaker"] for row in dev}
    first = next(row for row in train + dev if row["id"] == "train0")
    assert {key: value for key, value in first.items() if key != "seen"} == {
        "id": "train0", "speech": str((corpus / "WAVE/SPEAKERtrain0/train0.WAV").resolve()), "text": "we call it bear",
        "speaker": "strain0", "age": 6, "gender": "f", "score_total": 8, "score_accuracy": 7, "seconds": 0.1,
    }  # fmt: skip
    assert {row["text"]: row["seen"] for row in rows_of(out / "test.jsonl")} == {"zero three": True, "new": False}
    assert "speechocean762 test: 1 of 3 sentences occur in training" in caplog.text
    assert left_out(out / "train.jsonl") == {"train3.WAV": "no speaker"}
    found = left_out(out / "test.jsonl")
    assert found.pop("test3.WAV").startswith("cannot be decoded")
    assert found == {"test2.WAV": "empty transcript"}


def test_the_real_recordings(xmodal_data: Path, tmp_path: Path) -> None:
    written = prepare(xmodal_data / "speechocean762", tmp_path)
    assert {path.name: rows for path, rows in written.items()} == {
        "train.jsonl": 2240, "dev.jsonl": 260, "test.jsonl": 2500,
    }  # fmt: skip
    parts = {part: rows_of(tmp_path / f"{part}.jsonl") for part in ("train", "dev", "test")}
    speakers = {part: {row["speaker"] for row in rows} for part, rows in parts.items()}
    assert {part: len(found) for part, found in speakers.items()} == {"train": 112, "dev": 13, "test": 125}
    assert len(set.union(*speakers.values())) == 250
    assert sum(row["seen"] for row in parts["test"]) == 52


def test_mistakes(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected train/wav\.scp, train/text, train/utt2spk, test/wav\.scp"):
        prepare(tmp_path, tmp_path / "out")
    (corpus / "manifest.jsonl").write_text(
        '{"id": "a", "speech": "a.wav", "text": "a", "speaker": "s", "split": "dev"}\n'
    )
    with pytest.raises(UserError, match="a: the split is 'dev', expected train or test"):
        prepare(corpus, tmp_path / "out")
    (corpus / "manifest.jsonl").unlink()
    (corpus / "resource" / "scores.json").write_text("[]")
    with pytest.raises(UserError, match="expected scores by utterance"):
        prepare(corpus, tmp_path / "out")
