"""One manifest cut into several: by a column that says which row belongs where, or by groups that stay together.

Input: a manifest of any form. Output: `OUT/NAME.parquet` for each part, its paths starting from OUT. What a part was
made of stands in its metadata (`made_of`), by which a later split of the same manifest knows the parts it replaces.
"""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from xmodal.corpora.group_split import REST, split_by
from xmodal.data.manifest import MADE_OF, Manifest, made_of, read_manifest
from xmodal.data.mix import PATHS, path_from
from xmodal.errors import UserError
from xmodal.files import written_whole

log = logging.getLogger(__name__)

CORPUS = "split"  # what `made_of` says of a part


CAPTIONED = ("text", *PATHS)  # columns that may hold lists in some rows


def split_manifest(
    path: Path, out: Path, by: str | None = None, shares: Mapping[str, float] | None = None
) -> dict[Path, int]:
    """Write the parts; returns the rows of each file.

    Parts of an earlier split of the same manifest are removed from `out` first: no row is in an old and a new part.

    Args:
        path: a manifest; relative paths in `speech`, `audio` and `image` start from its folder.
        out: a folder.
        by: with `shares` the column whose equal values stay together (a speaker, a sentence; default: `id`), else the
            one whose values name the parts (`split`).
        shares: part -> its share of the rows; the rest is `train`.

    Raises:
        UserError: what `read_manifest` raises; neither `by` nor `shares`; no such column; too few different values of
            it for the parts; a part whose name makes no file name; a parquet file in the way that is no part of this
            manifest; in `out`, parts of another manifest.

    Example:
        split_manifest(Path("openclipart/manifest.jsonl"), Path("data/openclipart"), by="split")
        split_manifest(Path("cifar10/train.parquet"), Path("data/cifar10"), shares={"dev": 0.1})
    """
    if by is None and not shares:
        raise UserError(f"{path}: no parts are asked for; give shares, or by, the column whose values name the parts")
    by = by or "id"
    manifest = read_manifest(path, [by], media=CAPTIONED)
    parts = _parts(path, manifest.strings(by).to_pylist(), by, shares or {})
    for name in parts:
        if not name.replace("-", "").replace("_", "").isalnum():
            raise UserError(f"{path}: {name!r} in column {by!r} makes no file name; expected names such as train")
        if path.resolve() == (out / f"{name}.parquet").resolve():
            raise UserError(f"{path}: would be overwritten by its part {name}; choose another OUT")
    source = os.path.relpath(path.resolve(), out.resolve())
    earlier = _earlier(out, parts, source)
    table = _moved(manifest, out)
    made = json.dumps({"corpus": CORPUS, "of": source, "by": by, "shares": dict(shares or {})})
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), MADE_OF: made})
    out.mkdir(parents=True, exist_ok=True)
    for file in earlier:
        file.unlink()
        if file.stem not in parts:
            log.warning("%s: removed, a part of an earlier split of %s", file, path)
    written = {}
    for name, part in parts.items():
        target = out / f"{name}.parquet"
        with written_whole(target) as partial:
            pq.write_table(table.take(pa.array(part)), partial)
        written[target] = len(part)
    return written


def _parts(path: Path, values: Sequence[str], by: str, shares: Mapping[str, float]) -> dict[str, list[int]]:
    """The rows of each part, none of them empty."""
    if not shares:
        parts: dict[str, list[int]] = {}
        for at, value in enumerate(values):
            parts.setdefault(value, []).append(at)
        return parts
    different, wanted = len(set(values)), [*shares, REST]
    if different < len(wanted):
        raise UserError(
            f"{path}: column {by!r} has too few different values ({different}) for {', '.join(wanted)}; ask for fewer "
            "parts, or name another column"
        )
    rows = [{"at": at, by: value} for at, value in enumerate(values)]
    return {name: [row["at"] for row in part] for name, part in split_by(rows, by, shares).items()}


def _earlier(out: Path, parts: Mapping[str, list[int]], source: str) -> list[Path]:
    """The parts of an earlier split of the same manifest in `out`; raises `UserError` for what may not be replaced."""
    earlier = []
    for file in sorted(out.glob("*.parquet")):
        made = made_of(file)
        if made.get("corpus") == CORPUS and made.get("of") == source:
            earlier.append(file)
        elif made.get("corpus") == CORPUS:
            raise UserError(f"{file}: in the way, a part of {made.get('of')}; choose another OUT, or remove it")
        elif file.stem in parts:
            raise UserError(f"{file}: in the way, and no part of an earlier split; choose another OUT, or move it")
    return earlier


def _moved(manifest: Manifest, out: Path) -> pa.Table:
    """The table with its relative paths as a manifest in `out` has to write them."""
    table = manifest.table
    for name in {*PATHS} & {*table.column_names}:
        column = table[name]
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            moved = [None if value is None else path_from(out, manifest.root, value) for value in column.to_pylist()]
            table = table.set_column(table.column_names.index(name), name, pa.array(moved, pa.string()))
    return table
