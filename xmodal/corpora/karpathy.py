"""COCO captions and Flickr30k in Karpathy's split (Karpathy and Fei-Fei, CVPR 2015), the one retrieval is quoted on.

Enters: `dataset_coco.json` or `dataset_flickr30k.json` as published, beside the images:

    ROOT/dataset_coco.json       ROOT/train2014/*.jpg, ROOT/val2014/*.jpg
    ROOT/dataset_flickr30k.json  ROOT/flickr30k-images/*.jpg (or ROOT/images)

Leaves: `OUT/SPLIT.jsonl` for each split (train, restval in COCO, val, test), a row per caption, all captions of an
image one after the other, and where images are missing `OUT/SPLIT.skipped.jsonl`. The test splits are COCO's 5,000 and
Flickr30k's 1,000 images; results on an incomplete one cannot be compared with published ones.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xmodal.corpora.image_manifest import reference
from xmodal.errors import UserError
from xmodal.files import write_json_lines

SPLITS = ("train", "restval", "val", "test")  # restval: of COCO alone, most add it to train
TESTED = ("val", "test")
FOLDERS = ("flickr30k-images", "images")  # of Flickr30k; COCO's file names the folder of every image


@dataclass(frozen=True)
class _Image:
    """An image of the split file: its split, where it should be, and its captions as (id, text)."""

    split: str
    path: Path
    captions: list[tuple[str, str]]


def prepare_coco(root: Path, out: Path, limit: int | None = None, splits: Sequence[str] = ()) -> dict[Path, int]:
    """Write COCO's manifests; see `prepare`."""
    return prepare(root, "coco", out, limit, splits)


def prepare_flickr30k(root: Path, out: Path, limit: int | None = None, splits: Sequence[str] = ()) -> dict[Path, int]:
    """Write Flickr30k's manifests; see `prepare`."""
    return prepare(root, "flickr30k", out, limit, splits)


def prepare(
    root: Path, corpus: str, out: Path, limit: int | None = None, splits: Sequence[str] = ()
) -> dict[Path, int]:
    """Write a manifest for each split that has images, or for `splits`; returns each file's number of rows.

    Columns: `id` (the caption's), `image` (relative to the manifest's folder if inside it, else absolute), `image_id`
    (the file's name), `text`; in the splits that are tested on `text_id`: there every caption is a query of its own, as
    in the published numbers, even where two images share a sentence. What is left out of a split goes into
    SPLIT.skipped.jsonl, an `item` and a `reason` a row. COCO's test needs val2014 only.

    Raises:
        UserError: the split file is missing or is not Karpathy's; a split asked for has no image, or none has.

    Example:
        prepare(Path("data/coco"), "coco", Path("runs/data/coco"), splits=["test"])
    """
    path = root / f"dataset_{corpus}.json"
    rows: dict[str, list[dict[str, str]]] = {}
    skipped: dict[str, list[dict[str, str]]] = {}
    for image in _images(path, root):
        found, left_out = rows.setdefault(image.split, []), skipped.setdefault(image.split, [])
        if splits and image.split not in splits:
            continue
        reason = _unusable(image)
        if reason:
            left_out.append({"item": str(image.path), "reason": reason})
            continue
        place = os.path.join(reference(image.path.parent, out / "any"), image.path.name)  # noqa: PTH118
        for number, text in image.captions:
            row = {"id": number, "image": place, "image_id": image.path.name, "text": text}
            found.append(row | ({"text_id": number} if image.split in TESTED else {}))
    unknown = [split for split in splits if split not in rows]
    if unknown:
        raise UserError(f"{path}: no split {unknown[0]!r}; found: {', '.join(rows)}")
    chosen = list(splits) or [split for split, found in rows.items() if found]
    for split in chosen or rows:
        if not rows[split]:
            first = skipped[split][0]
            raise UserError(
                f"{path}: none of the {len(skipped[split])} images of {split} can be used, the first: {first['item']} "
                f"({first['reason']}); unpack the images beside it"
            )
    written: dict[Path, int] = {}
    for split in chosen:
        written[out / f"{split}.jsonl"] = write_json_lines(out / f"{split}.jsonl", rows[split][:limit])
        beside = out / f"{split}.skipped.jsonl"
        beside.unlink(missing_ok=True)
        if skipped[split]:
            written[beside] = write_json_lines(beside, skipped[split])
    return written


def _unusable(image: _Image) -> str | None:
    """Why an image is left out."""
    if not image.captions:
        return "no caption"
    if not image.path.is_file():
        return "no such file"
    return None if image.path.stat().st_size else "an empty file"


def _images(path: Path, root: Path) -> Iterator[_Image]:
    """The images of the split file, in its order."""
    content = _content(path)
    root = root.resolve()
    flat = next((root / name for name in FOLDERS if (root / name).is_dir()), root / FOLDERS[0])
    for number, entry in enumerate(content):
        try:
            folder = root / entry["filepath"] if "filepath" in entry else flat
            captions = [(str(s["sentid"]), " ".join(s["raw"].split())) for s in entry["sentences"]]
            yield _Image(str(entry["split"]), folder / str(entry["filename"]), [c for c in captions if c[1]])
        except (KeyError, TypeError, AttributeError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise UserError(f"{path}: images[{number}] is not as in Karpathy's file ({reason})") from error


def _content(path: Path) -> list[Any]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; put Karpathy's split file (in caption_datasets.zip) beside the images")
    try:
        images = json.loads(path.read_text(encoding="utf-8"))["images"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f'{path}: expected JSON with a list "images"; is it Karpathy\'s file, complete?') from error
    if not isinstance(images, list) or not images:
        raise UserError(f'{path}: "images" is no list with entries; is it Karpathy\'s file, complete?')
    return images
