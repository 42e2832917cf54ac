"""Speech Commands (Warden, 2018), versions 0.01 and 0.02: single words of many speakers, one second each.

Input: the archive as unpacked (a folder a word, `testing_list.txt`, `validation_list.txt`, `_background_noise_/`), and
the archive of the official test set beside it. Output, two tasks:

    OUT/words/{train,dev,test_by_list}.jsonl         every word a class: 30 in version 0.01, 35 in 0.02
    OUT/commands/{train,dev,test_official}.jsonl     twelve classes: ten commands, `_unknown_` and `_silence_`

The two tests are different sets and are named so: `test_by_list` are the words of `testing_list.txt`; `test_official`
is the archive `speech_commands_test_set_v0.0N`, the test of SUPERB and of the twelve-class literature.
"""

import hashlib
import logging
import math
from functools import partial
from pathlib import Path

from xmodal.corpora.audio_manifest import Row, write_audio, write_names
from xmodal.corpora.image_manifest import chosen_splits
from xmodal.corpora.speech.silence import LABEL as SILENCE
from xmodal.corpora.speech.silence import silence_rows
from xmodal.data.unusable import Bad
from xmodal.errors import UserError
from xmodal.files import split_lines

COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
UNKNOWN = "_unknown_"
SHARE = 0.1  # of the commands' clips: how many of the other words, and how many of silence, join them

_LISTS = {"dev": "validation_list.txt", "test_by_list": "testing_list.txt"}
_NOISE = "_background_noise_"
_NAMES = {UNKNOWN: "another word", SILENCE: "silence"}

log = logging.getLogger(__name__)


def prepare(version: str, root: Path, out: Path, limit: int | None = None) -> dict[Path, int]:
    """Write the manifests of both tasks, and `names.json` of each.

    Columns: `id` (word/file), `speech`, `text` and `label` (the word, or one of the twelve classes; of `_unknown_` the
    text stays the word, of `_silence_` it is empty), `speaker` (the beginning of the file's name), `seconds`.

    Of twelve classes train and dev hold, as in the paper's own recipe, `_unknown_` and `_silence_` with a tenth of the
    commands' number each: other words drawn by a digest of their names, and noise cut into `OUT/commands/silence/`
    (`silence.py`). How many other words there are and how many were drawn is said.

    Left out, and listed: files of the lists that are missing, files that cannot be read or are not named
    SPEAKER_nohash_NUMBER, classes of the official test that are not of the twelve.

    Args:
        version: "0.01" or "0.02".
        root: the folder of the archive, or the one that holds `speech_commands_vVERSION`; the official test set is
            looked for in it and beside it.
        out: for the manifests.
        limit: rows of each manifest.

    Raises:
        UserError: the lists are missing, or no word is there.

    Example:
        prepare("0.02", Path("data/speech_commands"), Path("runs/data/speech_commands"))
    """
    inside = root / f"speech_commands_v{version}"
    words = inside if inside.is_dir() else root
    chosen_splits(words, ["train"], {"train": [*_LISTS.values(), _NOISE]})
    listed = {part: _listed(words / name) for part, name in _LISTS.items()}
    skipped: dict[str, list[Bad]] = {part: [] for part in ("train", *_LISTS)}
    rows: dict[str, list[Row]] = {part: [] for part in skipped}
    for folder in sorted(path for path in words.iterdir() if path.is_dir() and not path.name.startswith(("_", "."))):
        for file in sorted(folder.glob("*.wav")):
            name = f"{folder.name}/{file.name}"
            part = next((part for part in _LISTS if name in listed[part]), "train")
            _add(rows[part], file, folder.name, skipped[part])
    there = {f"{row['id']}.wav" for part in rows.values() for row in part}
    for part in _LISTS:
        known = there | {item.removeprefix(f"{words}/") for item, _ in skipped[part]}
        skipped[part] += [(f"{words}/{name}", "missing") for name in sorted(listed[part] - known)]
    written: dict[Path, int] = {}
    for part, found in rows.items():
        written |= write_audio(out / "words" / f"{part}.jsonl", found, skipped[part], limit)
    written |= write_names(out / "words" / "names.json", [row["label"] for part in rows.values() for row in part])
    return written | _twelve(words, rows, out / "commands", limit) | _official(version, root, out / "commands", limit)


prepare_v1 = partial(prepare, "0.01")
prepare_v2 = partial(prepare, "0.02")


def _listed(path: Path) -> set[str]:
    return {line.strip() for line in split_lines(path.read_text(encoding="utf-8", errors="replace")) if line.strip()}


def _add(rows: list[Row], file: Path, label: str, skipped: list[Bad]) -> None:
    """One word's recording, where its name says who spoke."""
    speaker, mark, _ = file.stem.partition("_nohash_")
    if not mark:
        skipped.append((str(file), "not named SPEAKER_nohash_NUMBER.wav"))
        return
    row = {"id": f"{file.parent.name}/{file.stem}", "speech": file, "text": file.parent.name, "label": label}
    rows.append({**row, "speaker": speaker})


def _twelve(words: Path, rows: dict[str, list[Row]], out: Path, limit: int | None) -> dict[Path, int]:
    """The twelve classes of train and dev."""
    written: dict[Path, int] = {}
    noise = sorted((words / _NOISE).glob("*.wav"))
    for part in ("train", "dev"):
        skipped: list[Bad] = []
        commands = [row for row in rows[part] if row["label"] in COMMANDS]
        others = [row for row in rows[part] if row["label"] not in COMMANDS]
        count = math.ceil(SHARE * len(commands))
        drawn = sorted(others, key=lambda row: hashlib.blake2b(row["id"].encode()).digest())[:count]
        log.warning(
            "%s: %d of %d clips of other words are drawn as %s, so that classes are of similar size",
            out / f"{part}.jsonl", len(drawn), len(others), UNKNOWN,
        )  # fmt: skip
        unknown = [{**row, "label": UNKNOWN} for row in drawn]
        silent = silence_rows(noise, out / "silence", part, count if limit is None else min(count, limit), skipped)
        written |= write_audio(out / f"{part}.jsonl", [*commands, *unknown, *silent], skipped, limit)
    return written | write_names(out / "names.json", (*COMMANDS, UNKNOWN, SILENCE), _NAMES)


def _official(version: str, root: Path, out: Path, limit: int | None) -> dict[Path, int]:
    """The official test set; nothing, and a line, where it is not there."""
    name = f"speech_commands_test_set_v{version}"
    folder = next((path for path in (root / name, root.parent / name) if path.is_dir()), None)
    if folder is None:
        log.warning("%s: no %s in it or beside it: no test_official.jsonl is written", root, name)
        return {}
    skipped: list[Bad] = []
    rows: list[Row] = []
    for where in sorted(path for path in folder.iterdir() if path.is_dir()):
        if where.name not in (*COMMANDS, UNKNOWN, SILENCE):
            skipped.append((str(where), "not one of the twelve classes"))
            continue
        for file in sorted(where.glob("*.wav")):
            rows.append(_tested(file))
    if not rows:
        raise UserError(f"{folder}: no class folder (yes, no, ...) with WAV in it; unpack it again")
    return write_audio(out / "test_official.jsonl", rows, skipped, limit)


def _tested(file: Path) -> Row:
    """A row of the official test: the text of a command is known, that of another word is not."""
    label = file.parent.name
    speaker, mark, _ = file.stem.partition("_nohash_")
    row = {"id": f"{label}/{file.stem}", "speech": file, "text": label if label in COMMANDS else "", "label": label}
    return row | ({"speaker": speaker.rpartition("_")[2]} if mark else {})
