"""Any folder of recordings with labels: class folders of audio, or a `manifest.jsonl` beside the files.

ROOT/CLASS/FILE              `OUT/all.jsonl`
ROOT/CLASS/SPEAKER/FILE      the same, and `train`, `dev`, `test` without a common speaker
ROOT/manifest.jsonl          rows of `id`, `speech` (or `audio`) and `label`: a manifest for each `split` it names;
                             without a column `split`, `OUT/all.jsonl`, and a cut by `speaker` where there is one
"""

import re
from pathlib import Path

from xmodal.corpora.audio_manifest import Row, usable, write_names, write_rows
from xmodal.corpora.group_split import split_by
from xmodal.corpora.image_manifest import evenly
from xmodal.corpora.speech.recorded_manifest import NAME, read_recorded
from xmodal.data.sources.folders import AUDIO
from xmodal.data.unusable import Bad
from xmodal.errors import UserError
from xmodal.files import files_under
from xmodal.prompts import readable

SHARES = {"test": 0.2, "dev": 0.1}  # of the rows, where we cut

_SPLIT = re.compile(r"[\w.-]+")


def prepare(root: Path, out: Path, limit: int | None = None) -> dict[Path, int]:
    """Write the manifests, and `OUT/names.json`.

    Columns: `id` (the path without its ending), `audio`, `label` (the folder's name), `text` (the same in words),
    `speaker`, `seconds`; of a `manifest.jsonl` its own. Left out, and listed: files that are no audio, cannot be read
    or lie too deep; rows without a label; a class folder without a recording that can be used.

    Raises:
        UserError: neither form is there; nothing that can be used; splits with names that are no file names.

    Example:
        prepare(Path("data/speech_commands_mini"), Path("runs/data/mini"))
    """
    skipped: list[Bad] = []
    if (root / NAME).is_file():
        column, rows = read_recorded(root, ("label",), skipped)
    else:
        column, rows = "audio", _of_folders(root, skipped)
    kept = usable(rows, column, out / "all.jsonl", skipped)
    for label in sorted({row["label"] for row in rows} - {row["label"] for row in kept}):
        skipped.append((f"the label {label}", "no recording that can be used"))
    kept = [kept[at] for at in evenly(len(kept), limit)]
    written: dict[Path, int] = {}
    for number, (name, part) in enumerate(_parts(root, kept).items()):
        written |= write_rows(out / f"{name}.jsonl", part, [] if number else skipped)
    return written | write_names(out / "names.json", [row["label"] for row in kept])


def _parts(root: Path, rows: list[Row]) -> dict[str, list[Row]]:
    """The manifests to write: those that the rows name, else all of them, and a cut by speaker where all have one."""
    if rows and all(row.get("split") for row in rows):
        parts: dict[str, list[Row]] = {}
        for row in rows:
            parts.setdefault(str(row["split"]), []).append({key: row[key] for key in row if key != "split"})
        odd = [name for name in parts if not _SPLIT.fullmatch(name)]
        if odd:
            raise UserError(f"{root / NAME}: the split {odd[0]!r} cannot name a file; use letters, digits, - and _")
        return parts
    spoken = bool(rows) and all(row.get("speaker") for row in rows)
    return {"all": rows} | (split_by(rows, "speaker", SHARES) if spoken else {})


def _of_folders(root: Path, skipped: list[Bad]) -> list[Row]:
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    rows: list[Row] = []
    for folder in folders:
        for file in files_under(folder):
            inside = file.relative_to(folder).parts
            if file.name.startswith("."):
                continue
            if file.suffix.lower() not in AUDIO or len(inside) > 2:
                too_deep = len(inside) > 2
                skipped.append((str(file), "deeper than CLASS/SPEAKER/FILE" if too_deep else "no audio by its ending"))
                continue
            name = str(file.relative_to(root).with_suffix(""))
            row: Row = {"id": name, "audio": file, "label": folder.name, "text": readable(folder.name)}
            rows.append(row | ({"speaker": inside[0]} if len(inside) == 2 else {}))
    if not rows:
        found = ", ".join(folder.name for folder in folders[:5]) or "no folders"
        raise UserError(
            f"{root}: expected class folders with audio in them ({', '.join(sorted(AUDIO))}), or {NAME}; found {found}"
        )
    return rows
