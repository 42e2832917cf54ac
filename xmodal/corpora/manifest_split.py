"""One manifest cut into several: by a column that says which row belongs where, or by groups that stay together.

Input: a manifest of any form. Output: `OUT/NAME.parquet` for each part, its paths starting from OUT.
"""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from xmodal.corpora.group_split import split_by
from xmodal.data.manifest import Manifest, read_manifest
from xmodal.data.mix import PATHS, path_from
from xmodal.errors import UserError
from xmodal.files import written_whole


def split_manifest(path: Path, out: Path, by: str = "id", shares: Mapping[str, float] | None = None) -> dict[Path, int]:
    """Write the parts; returns the rows of each file.

    Args:
        path: a manifest; relative paths in `speech`, `audio` and `image` start from its folder.
        out: a folder.
        by: with `shares` the column whose equal values stay together (a speaker, a sentence), else the one whose
            values name the parts (`split`).
        shares: part -> its share of the rows; the rest is `train`.

    Raises:
        UserError: what `read_manifest` raises; no such column; shares that leave nothing; a part whose name makes no
            file name; a part without a row; another file in the way.

    Example:
        split_manifest(Path("openclipart/manifest.jsonl"), Path("data/openclipart"), by="split")
        split_manifest(Path("cifar10/train.parquet"), Path("data/cifar10"), shares={"dev": 0.1})
    """
    manifest = read_manifest(path, [by])
    values = manifest.strings(by).to_pylist()
    if shares:
        rows = [{"at": at, by: value} for at, value in enumerate(values)]
        parts = {name: [row["at"] for row in part] for name, part in split_by(rows, by, shares).items()}
    else:
        parts = {}
        for at, value in enumerate(values):
            parts.setdefault(str(value), []).append(at)
    for name, part in parts.items():
        if not part:
            raise UserError(f"{path}: no row for {name}: too few different values of {by!r} ({len(set(values))})")
        if not name.replace("-", "").replace("_", "").isalnum():
            raise UserError(f"{path}: {name!r} in column {by!r} makes no file name; expected names such as train")
        if path.resolve() == (out / f"{name}.parquet").resolve():
            raise UserError(f"{path}: would be overwritten by its part {name}; choose another OUT")
    table = _moved(manifest, out)
    out.mkdir(parents=True, exist_ok=True)
    written = {}
    for name, part in parts.items():
        target = out / f"{name}.parquet"
        with written_whole(target) as partial:
            pq.write_table(table.take(pa.array(part)), partial)
        written[target] = len(part)
    return written


def _moved(manifest: Manifest, out: Path) -> pa.Table:
    """The table with its relative paths as a manifest in `out` has to write them."""
    table = manifest.table
    for name in {*PATHS} & {*table.column_names}:
        column = table[name]
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            moved = [None if value is None else path_from(out, manifest.root, value) for value in column.to_pylist()]
            table = table.set_column(table.column_names.index(name), name, pa.array(moved, pa.string()))
    return table
