"""Web captions as img2dataset downloads them: CC3M, CC12M, YFCC15M. Enters: their tars. Leaves: `OUT/train.parquet`.

The images stay in the tars, and the manifest names their places there. A row's id ends with img2dataset's key, by which
the parquet files beside the tars (address, size, licence) can be joined.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from xmodal.corpora.image_manifest import write_manifest
from xmodal.data.tar_index import scan_tars
from xmodal.data.unusable import Bad

_COLUMNS = {"id": pa.string(), "image": pa.string(), "text": pa.string()}


def prepare(corpus: str, root: Path, out: Path, limit: int | None = None) -> dict[Path, int]:
    """Write `OUT/train.parquet`: `id`, `image` (a place inside a tar), `text` (the caption).

    With a limit, tars are read until there are as many rows. Tars inside `OUT` are named relative to it.

    Raises:
        UserError: no tars, or compressed ones; no captioned image in any.

    Example:
        prepare("cc12m", Path("data/cc12m"), Path("data/cc12m"))
    """
    skipped: list[Bad] = []
    rows = _rows(root, out, limit, skipped)
    return write_manifest(out / "train.parquet", _COLUMNS, rows, skipped, {"corpus": corpus, "limit": limit})


prepare_cc3m = partial(prepare, "cc3m")
prepare_cc12m = partial(prepare, "cc12m")
prepare_yfcc15m = partial(prepare, "yfcc15m")


def _rows(root: Path, out: Path, limit: int | None, skipped: list[Bad]) -> Iterator[dict[str, Any]]:
    count = 0
    for index in scan_tars(root, out):
        skipped += index.skipped
        for row in index.rows:
            if row["text"] is None:
                skipped.append((row["id"], "no caption"))
                continue
            yield {"id": row["id"], "image": row["image"], "text": row["text"]}
            count += 1
            if count == limit:
                return
