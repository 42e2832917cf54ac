"""What the readers of audio corpora share: which files can be used, and a JSONL manifest with what was left out of it.

A reader makes rows with the file's own path under `speech` or `audio`; `usable` reads the headers, names the files as
seen from the manifest and adds `seconds`; `write_rows` writes. What is left out of NAME.jsonl goes into
NAME.skipped.jsonl beside it, an item and a reason a row. Both are written whole or not at all, and a second time as the
first.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from xmodal.corpora.image_manifest import evenly, printable, reference
from xmodal.data.unusable import Bad, listed
from xmodal.errors import UserError
from xmodal.files import write_json, write_json_lines
from xmodal.prompts import readable

Row = dict[str, Any]


def write_audio(
    path: Path, rows: Sequence[Row], skipped: list[Bad], limit: int | None = None, column: str = "speech"
) -> dict[Path, int]:
    """`usable` and `write_rows` in one: a manifest of rows that hold a file each.

    Args:
        path: the manifest, JSONL.
        rows: with the file's path in `column`.
        skipped: items left out so far, with the reason; those whose file cannot be used are added.
        limit: keep this many rows, evenly over all.
        column: speech or audio.

    Raises:
        UserError: there would be no row.

    Example:
        write_audio(out / "train.jsonl", rows, skipped, limit=100)
    """
    return write_rows(path, usable([rows[at] for at in evenly(len(rows), limit)], column, path, skipped), skipped)


def usable(rows: Sequence[Row], column: str, manifest: Path, skipped: list[Bad]) -> list[Row]:
    """The rows whose file can be used, by its header: the path as seen from the manifest, and `seconds`.

    Left out with the reason: a file that is missing, empty, no audio, without samples, over an hour long, of a sample
    rate outside 4 to 768 kHz; a name that is not UTF-8. A file whose end is cut off may look whole here: it is found
    out when it is decoded, and left out then.

    Example:
        usable([{"id": "a", "speech": root / "a.wav"}], "speech", out / "train.jsonl", skipped := [])
    """
    from xmodal.data.audio import LONGEST, AudioError, scan_headers  # late: torch

    files = list(dict.fromkeys(row[column] for row in rows))
    headers = dict(zip(files, scan_headers(files), strict=True))
    homes = {folder: reference(folder, manifest) for folder in {file.parent for file in files}}
    kept: list[Row] = []
    told: set[Path] = set()
    for row in rows:
        file, header = row[column], headers[row[column]]
        reason = None
        if isinstance(header, AudioError):
            reason = str(header).removeprefix(f"{file}: ")
        elif header > LONGEST:
            reason = f"{header:,.0f} s, more than {LONGEST:,} s"
        elif str(file) != printable(str(file)):
            reason = "the name is not UTF-8"
        if reason is None:
            assert isinstance(header, float)
            kept.append({**row, column: str(Path(homes[file.parent], file.name)), "seconds": round(header, 3)})
        elif file not in told:
            told.add(file)
            skipped.append((str(file), reason))
    return kept


def write_rows(path: Path, rows: Sequence[Row], skipped: Sequence[Bad]) -> dict[Path, int]:
    """Write a manifest and what was left out of it; returns the number of rows of each file.

    Of rows with one id the first is kept.

    Raises:
        UserError: there would be no row.

    Example:
        write_rows(out / "test.jsonl", [{"id": "a", "speech": "a.wav", "label": "yes"}], [])
    """
    if not rows:
        raise UserError(f"{path}: there would be no row in it; left out: {listed(skipped) or 'nothing'}")
    kept: dict[str, Row] = {}
    bad = list(skipped)
    for row in rows:
        if kept.setdefault(row["id"], row) is not row:
            bad.append((row["id"], "the id comes twice; the first is kept"))
    written = {path: write_json_lines(path, kept.values())}
    beside = path.with_suffix(".skipped.jsonl")
    if not bad:
        beside.unlink(missing_ok=True)
        return written
    listing = ({"item": printable(item), "reason": reason} for item, reason in bad)
    return written | {beside: write_json_lines(beside, listing)}


def write_names(path: Path, labels: Iterable[str], names: Mapping[str, str] | None = None) -> dict[Path, int]:
    """Write `names.json`: each label's readable name, by default the label with spaces for underscores.

    Example:
        write_names(out / "names.json", {"iot_hue_lighton"})  # "iot hue lighton"
    """
    found = {label: (names or {}).get(label) or readable(label) for label in sorted(set(labels))}
    write_json(path, found)
    return {path: len(found)}


def required_folder(root: Path, choices: Sequence[str], what: str) -> Path:
    """The first of several folders under `root` that is there.

    Args:
        root: the corpus' folder.
        choices: relative to it; "." is the folder itself.
        what: is in the folder, for the error line.

    Raises:
        UserError: none of them is there.

    Example:
        required_folder(root, ["slurp_real", "audio/slurp_real"], "SLURP's recordings")
    """
    for choice in choices:
        if (root / choice).is_dir():
            return root / choice
    raise UserError(
        f"{root}: no folder {' or '.join(choices)}; expected {what}; "
        "ROOT is the folder into which the corpus was unpacked"
    )
