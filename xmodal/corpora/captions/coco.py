"""COCO captions 2017: about five captions an image. Input: the annotations and image folders as unpacked.

Output: `OUT/train.parquet` and `OUT/val.parquet`, a row for each image. Retrieval on the Karpathy test split, the one
the papers quote, is another manifest.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from xmodal.corpora.image_manifest import (
    TEXTS,
    chosen_splits,
    fingerprint,
    image_files,
    reference,
    sha256_of,
    write_manifest,
)
from xmodal.corpora.splits import has_splits
from xmodal.data.unusable import Bad
from xmodal.errors import UserError
from xmodal.progress import progress_bar

SPLITS = ("train", "val")

_COLUMNS = {"id": pa.string(), "image": pa.string(), "text": TEXTS}


@has_splits(*SPLITS)
def prepare(root: Path, out: Path, limit: int | None = None, splits: Sequence[str] = ()) -> dict[Path, int]:
    """Write a manifest for each split there: `id` (COCO's image id), `image`, `text` (the list of its captions).

    Left out, and listed: images that are missing or empty, images without a caption. Rows keep the annotations' order.
    A manifest made of the same files is left as it is.

    Raises:
        UserError: annotations or image folder missing, or not in COCO's form.

    Example:
        prepare(Path("data/coco"), Path("runs/data/coco"), splits=["val"])
    """
    needed = {split: [f"annotations/captions_{split}2017.json", f"{split}2017"] for split in SPLITS}
    written: dict[Path, int] = {}
    for split in chosen_splits(root, splits, needed):
        annotations, images = (root / path for path in needed[split])
        path = out / f"{split}.parquet"
        skipped: list[Bad] = []
        rows = _rows(annotations, images, path, limit, skipped)
        made = {"corpus": "coco", "limit": limit, "captions_from": annotations.name}
        made |= {"captions_sha256": sha256_of(annotations), "source": fingerprint(path, [images])}
        written |= write_manifest(path, _COLUMNS, rows, skipped, made)
    return written


def _rows(
    annotations: Path, images: Path, manifest: Path, limit: int | None, skipped: list[Bad]
) -> Iterator[dict[str, Any]]:
    names, captions = _read(annotations)
    usable = set(image_files(images, skipped))
    bad = {Path(item).name for item, _ in skipped}
    home = reference(images, manifest)
    left = len(names) if limit is None else limit
    for image_id, name in progress_bar(names.items(), desc=manifest.stem, unit="image", delay=2):
        if not left:
            break
        if name not in usable:
            skipped += [] if name in bad else [(str(images / name), "missing")]
        elif not captions[image_id]:
            skipped.append((str(images / name), "no caption"))
        else:
            left -= 1
            yield {"id": str(image_id), "image": os.path.join(home, name), "text": captions[image_id]}  # noqa: PTH118


def _read(path: Path) -> tuple[dict[int, str], dict[int, list[str]]]:
    """File names and captions by image id, the captions in the order of their own ids."""
    captions: dict[int, list[str]] = defaultdict(list)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        names = {image["id"]: str(image["file_name"]) for image in found["images"]}
        for annotation in sorted(found["annotations"], key=lambda annotation: annotation["id"]):
            caption = annotation["caption"].strip()
            if caption:
                captions[annotation["image_id"]].append(caption)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: not COCO's captions ({type(error).__name__}: {error}); expected JSON with images (id, file_name) "
            "and annotations (id, image_id, caption); unpack annotations_trainval2017.zip again"
        ) from error
    return names, captions
