"""Flickr30k: five captions an image. Input: the token file (or `results.csv`) and the images. Output: one manifest.

The official release has no splits; the Karpathy split, the one the papers quote, is another manifest.
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from xmodal.corpora.image_manifest import TEXTS, fingerprint, image_files, reference, sha256_of, write_manifest
from xmodal.data.unusable import Bad
from xmodal.errors import UserError
from xmodal.files import split_lines
from xmodal.progress import progress_bar

_COLUMNS = {"id": pa.string(), "image": pa.string(), "text": TEXTS}
_CAPTIONS = ("results_20130124.token", "results.csv")
_IMAGES = ("flickr30k-images", "flickr30k_images", "images")


def prepare(root: Path, out: Path, limit: int | None = None) -> dict[Path, int]:
    """Write `OUT/images.parquet`: `id` (the file's name), `image`, `text` (the list of its captions).

    Captions are read from `results_20130124.token` (`NAME#NUMBER`, a tab, the caption) or from `results.csv`
    (`image_name| comment_number| comment`). Left out, and listed: lines of another form, images that are missing,
    empty or without a caption. Rows keep the captions' order. A manifest made of the same files is left as it is.

    Raises:
        UserError: no captions, no image folder, or no line of the right form.

    Example:
        prepare(Path("data/flickr30k"), Path("runs/data/flickr30k"))
    """
    captions = next((root / name for name in _CAPTIONS if (root / name).is_file()), None)
    images = next((root / name for name in _IMAGES if (root / name).is_dir()), None)
    for found, names, kind in ((captions, _CAPTIONS, "the captions"), (images, _IMAGES, "the folder of images")):
        if found is None:
            raise UserError(f"{root}: no {' or '.join(names)} there; expected {kind} of Flickr30k")
    assert captions is not None
    assert images is not None
    skipped: list[Bad] = []
    path = out / "images.parquet"
    rows = _rows(captions, images, path, limit, skipped)
    made = {"corpus": "flickr30k", "limit": limit, "captions_from": captions.name}
    made |= {"captions_sha256": sha256_of(captions), "source": fingerprint(path, [images])}
    return write_manifest(path, _COLUMNS, rows, skipped, made)


def _rows(
    captions: Path, images: Path, manifest: Path, limit: int | None, skipped: list[Bad]
) -> Iterator[dict[str, Any]]:
    texts = _read(captions, skipped)
    unlisted: list[Bad] = []
    usable = set(image_files(images, unlisted))
    bad = {Path(item).name: reason for item, reason in unlisted}
    skipped += [(str(images / name), "no caption") for name in sorted(usable - texts.keys())]
    home = reference(images, manifest)
    left = len(texts) if limit is None else limit
    for name, lines in progress_bar(texts.items(), desc="flickr30k", unit="image", delay=2):
        if not left:
            break
        if name not in usable:
            skipped.append((str(images / name), bad.get(name, "missing")))
        else:
            left -= 1
            yield {"id": name, "image": os.path.join(home, name), "text": [lines[n] for n in sorted(lines)]}  # noqa: PTH118


def _read(path: Path, skipped: list[Bad]) -> dict[str, dict[int, str]]:
    """Captions by image and number."""
    is_csv = path.suffix == ".csv"
    found: dict[str, dict[int, str]] = defaultdict(dict)
    try:
        lines = split_lines(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start}); expected Flickr30k's captions") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip() or (is_csv and number == 1):
            continue
        parts = (
            line.split("|", 2) if is_csv else [*line.partition("\t")[0].rpartition("#")[::2], line.partition("\t")[2]]
        )
        name, index, caption = (part.strip() for part in [*parts, "", ""][:3])
        if not name or not index.isdecimal() or not caption:
            skipped.append((f"{path}: line {number}", f"no caption: {line[:60]!r}"))
        else:
            found[name].setdefault(int(index), caption)
    if not found:
        form = "image_name| comment_number| comment" if is_csv else "NAME.jpg#NUMBER, a tab, the caption"
        raise UserError(f"{path}: no caption in its {len(lines)} lines; expected lines of the form: {form}")
    return found
