"""Several manifests as one: what a run trains on where its pairs come from several places.

Input: manifests. Output: rows whose paths start from another folder, the number of its manifest before each one's id.
"""

import itertools
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xmodal.data.manifest import Manifest, read_manifest
from xmodal.data.sources.checks import checked
from xmodal.errors import UserError

PATHS = ("speech", "audio", "image")  # columns that hold paths


def mixed(
    manifests: Sequence[Path], folder: Path, lower: bool = False, sound: str | None = None
) -> list[dict[str, Any]]:
    """The rows of all manifests, for a manifest that will lie in `folder`.

    A manifest that is named twice gives its rows twice. Recordings are in one column, `sound`. A column that a manifest
    lacks is null in its rows; `label` and `speaker` are among them only if any has them.

    Args:
        manifests: at least one; paths in the columns `speech`, `audio` and `image` start from each one's own folder.
        folder: what the paths of the rows start from.
        lower: texts in lower case, as one text in two spellings counts as two.
        sound: the column of recordings, `speech` or `audio`; default: `speech` where any manifest calls it so.

    Raises:
        UserError: what `read_manifest` raises; a path that is null or no string; a manifest without any of the path
            columns that the others have, or with both `audio` and `speech`.

    Example:
        mixed([Path("tts/manifest.jsonl"), Path("people/train.jsonl")], Path("mix"))[0]["id"]  # "1-a"
    """
    tables = [_read(path) for path in manifests]
    if sound is None:
        sound = "speech" if any("speech" in table.column_names for table in tables) else "audio"
    renamed = {"audio": sound, "speech": sound}
    names = [[renamed.get(name, name) for name in table.column_names] for table in tables]
    paths = [{*PATHS} & {*columns} for columns in names]
    for path, there in zip(manifests, paths, strict=True):
        missing = sorted(set().union(*paths) - there)
        if missing:
            raise UserError(f"{path}: no column {missing[0]!r}, which other manifests of the mix have; add it")
    columns = list(dict.fromkeys(["id", *itertools.chain(*names)]))
    rows = []
    for number, table in enumerate(tables, start=1):
        for row in table:
            kept = {renamed.get(name, name): value for name, value in row.items()}
            kept["id"] = f"{number}-{kept['id']}"
            for name in {*PATHS} & kept.keys():
                kept[name] = path_from(folder, table.root, str(kept[name]))
            if lower and isinstance(kept.get("text"), str):
                kept["text"] = kept["text"].lower()
            rows.append({name: kept.get(name) for name in columns})
    return rows


def path_from(folder: Path, root: Path, written: str) -> str:
    """A path of a manifest in `root`, as one in `folder` has to write it; whole paths stay as they are."""
    if Path(written).is_absolute():
        return written
    return os.path.relpath(root.resolve() / written, folder.resolve())  # of links, .. would climb from elsewhere


def _read(path: Path) -> Manifest:
    """A manifest whose paths are all there."""
    found = read_manifest(path)
    paths = [name for name in PATHS if name in found.column_names]
    if {"speech", "audio"} <= {*paths}:
        raise UserError(f"{path}: columns 'speech' and 'audio', which are one in a mix; take one of them out")
    return replace(found, table=checked(path, found.table, ["id", *paths], media=()))
