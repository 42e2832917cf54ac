"""Web captions as img2dataset downloads them: CC3M, CC12M, YFCC15M. From their tars to `OUT/train.parquet`.

The images stay in the tars, and the manifest has their addresses. A row's id ends with img2dataset's key, by which
the parquet files beside the tars (address, size, licence) can be joined.

What a tar holds is kept at once as a small file in `OUT/.train.parts`, so that a run that was killed goes on where it
was. When the manifest is written, these files are removed.
"""

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from xmodal.corpora.captions.tar_parts import PART, indexed
from xmodal.corpora.image_manifest import fingerprint, write_manifest
from xmodal.data.sources.tar_index import find_tars
from xmodal.data.unusable import Bad
from xmodal.errors import UserError

_COLUMNS = {"id": pa.string(), "image": pa.string(), "text": pa.string()}


def prepare(corpus: str, root: Path, out: Path, limit: int | None = None) -> dict[Path, int]:
    """Write `OUT/train.parquet`: `id`, `image` (its address in a tar), `text` (the caption).

    With a limit, tars are read until there are as many rows. Tars inside `OUT` are named relative to it. A manifest
    made of the same tars (names, sizes, dates) is left as it is.

    Raises:
        UserError: no tars, or compressed ones; no captioned image in any.

    Example:
        prepare("cc12m", Path("data/cc12m"), Path("data/cc12m"))
    """
    tars = _tars(root)
    path, parts = out / "train.parquet", out / ".train.parts"
    skipped: list[Bad] = []
    made = {"corpus": corpus, "limit": limit, "source": fingerprint(path, files=tars)}
    rows = _rows(tars, root if root.is_dir() else root.parent, parts, limit, skipped)
    written = write_manifest(path, _COLUMNS, rows, skipped, made, exact=True)
    for part in parts.glob(PART):
        part.unlink()
    with contextlib.suppress(OSError):  # not there, or something else in it
        parts.rmdir()
    return written


prepare_cc3m = partial(prepare, "cc3m")
prepare_cc12m = partial(prepare, "cc12m")
prepare_yfcc15m = partial(prepare, "yfcc15m")


def _tars(root: Path) -> list[Path]:
    """The tars of a folder and of those in it, sorted; or the one given."""
    tars = find_tars(root)
    if not tars:
        raise UserError(f"{root}: no .tar there; expected tars as img2dataset writes them (00000.tar, ...)")
    return tars


def _rows(tars: list[Path], base: Path, parts: Path, limit: int | None, skipped: list[Bad]) -> Iterator[dict[str, Any]]:
    count = 0
    for part in indexed(tars, base, parts):
        skipped += part.skipped
        for name, image, text in part.rows:
            if text is None:
                skipped.append((name, "no caption"))
                continue
            yield {"id": name, "image": image, "text": text}
            count += 1
            if count == limit:
                return
