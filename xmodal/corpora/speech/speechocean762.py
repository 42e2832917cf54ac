"""speechocean762 (Zhang et al., Interspeech 2021): read English of 250 speakers, half of them children, with scores.

Input: the official folder (`train/` and `test/` with `wav.scp`, `text`, `utt2spk`, `spk2age`, `spk2gender`;
`resource/scores.json`; `WAVE/`), or a folder with a `manifest.jsonl` of `id`, `speech`, `text`, `speaker`, `split`.
Output: `OUT/{train,dev,test}.jsonl`; dev is cut from the official train by speaker, for there is none.
"""

import json
from pathlib import Path
from typing import Any

from xmodal.corpora.audio_manifest import Row, write_audio
from xmodal.corpora.group_split import mark_seen, split_by
from xmodal.corpora.image_manifest import chosen_splits
from xmodal.corpora.speech.recorded_manifest import NAME, read_recorded
from xmodal.data.unusable import Bad
from xmodal.errors import UserError
from xmodal.files import split_lines

DEV_SHARE = 0.1  # of the official train's rows

_TABLES = ("wav.scp", "text", "utt2spk")  # without them there are no rows
_ABOUT = {"age": "spk2age", "gender": "spk2gender"}
_SCORES = ("total", "accuracy", "completeness", "fluency", "prosodic")


def prepare(root: Path, out: Path, limit: int | None = None) -> dict[Path, int]:
    """Write the three manifests.

    Columns: `id`, `speech`, `text` (of the official folder in lower case: it is published in capitals), `speaker`,
    `age`, `gender`, the sentence's scores (`score_total`, ...) where `scores.json` is there, `seconds`; in dev and test
    `seen`: the sentence occurs in training (52 of the 2,500 of the test). Left out, and listed: recordings that are
    missing or cannot be read, empty transcripts, recordings without a speaker.

    Raises:
        UserError: neither form of the corpus is there, or a table is broken.

    Example:
        prepare(Path("data/speechocean762"), Path("runs/data/speechocean762"))
    """
    skipped: dict[str, list[Bad]] = {"train": [], "dev": [], "test": []}
    official = _of_manifest(root, skipped) if (root / NAME).is_file() else _of_kaldi(root, skipped)
    parts = {**split_by(official["train"], "speaker", {"dev": DEV_SHARE}), "test": official["test"]}
    mark_seen(parts.get("dev", []), parts["train"], "speechocean762 dev")
    mark_seen(parts["test"], official["train"], "speechocean762 test")
    written: dict[Path, int] = {}
    for split in skipped:
        if parts.get(split) or split != "dev":
            written |= write_audio(out / f"{split}.jsonl", parts[split], skipped[split], limit)
    return written


def _of_manifest(root: Path, skipped: dict[str, list[Bad]]) -> dict[str, list[Row]]:
    left_out: list[Bad] = []
    _, rows = read_recorded(root, ("text", "speaker", "split"), left_out)
    skipped["train"] += left_out
    found: dict[str, list[Row]] = {"train": [], "test": []}
    for row in rows:
        split = str(row.pop("split"))
        if split not in found:
            raise UserError(f"{root / NAME}: {row['id']}: the split is {split!r}, expected train or test; mend the row")
        found[split].append(row)
    return found


def _of_kaldi(root: Path, skipped: dict[str, list[Bad]]) -> dict[str, list[Row]]:
    splits = ("train", "test")
    chosen_splits(root, splits, {split: [f"{split}/{name}" for name in _TABLES] for split in splits})
    scores = _scores(root / "resource" / "scores.json")
    found: dict[str, list[Row]] = {}
    for split in splits:
        texts, speakers = _table(root / split / "text"), _table(root / split / "utt2spk")
        about = {key: _table(root / split / name, required=False) for key, name in _ABOUT.items()}
        rows: list[Row] = []
        for name, file in _table(root / split / "wav.scp").items():
            text, speaker = texts.get(name, ""), speakers.get(name)
            if not text or speaker is None:
                skipped[split].append((str(root / file), "no speaker" if text else "empty transcript"))
                continue
            row: Row = {"id": name, "speech": root / file, "text": text.lower(), "speaker": speaker}
            row |= {key: values[speaker] for key, values in about.items() if speaker in values}
            row |= {"age": int(row["age"])} if str(row.get("age", "")).isdecimal() else {}
            rows.append(row | {f"score_{key}": scores[name][key] for key in _SCORES if key in scores.get(name, {})})
        found[split] = rows
    return found


def _table(path: Path, required: bool = True) -> dict[str, str]:
    """A table of Kaldi: a name, white space, a value, on each line."""
    if not required and not path.is_file():
        return {}
    try:
        lines = split_lines(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start}); unpack the corpus again") from error
    pairs = (line.strip().split(maxsplit=1) for line in lines if line.strip())
    return {pair[0]: pair[1].strip() if len(pair) > 1 else "" for pair in pairs}


def _scores(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); unpack the corpus again, or remove the file") from error
    if not isinstance(found, dict) or not all(isinstance(each, dict) for each in found.values()):
        raise UserError(f"{path}: expected scores by utterance; unpack the corpus again, or remove the file")
    return found
