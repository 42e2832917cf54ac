"""COCO captions and Flickr30k in Karpathy's split (Karpathy and Fei-Fei, CVPR 2015), the one retrieval is quoted on.

Input: `dataset_coco.json` or `dataset_flickr30k.json` as published, beside the images:

    ROOT/dataset_coco.json       ROOT/train2014/*.jpg, ROOT/val2014/*.jpg
    ROOT/dataset_flickr30k.json  ROOT/flickr30k-images/*.jpg (or ROOT/images)

Output: `OUT/SPLIT.parquet` for each split (train, restval in COCO, val, test), a row per caption, all captions of an
image one after the other, and where images are missing `OUT/SPLIT.skipped.jsonl`. The test splits are COCO's 5,000 and
Flickr30k's 1,000 images; results on an incomplete one cannot be compared with published ones.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from xmodal.corpora.image_manifest import image_files, reference, sha256_of, write_manifest
from xmodal.corpora.splits import has_splits
from xmodal.data.unusable import Bad
from xmodal.errors import UserError
from xmodal.progress import progress_bar

SPLITS = ("train", "restval", "val", "test")  # restval: of COCO alone, most add it to train
TESTED = ("val", "test")
FOLDERS = ("flickr30k-images", "images")  # of Flickr30k; COCO's file names the folder of every image

_COLUMNS = dict.fromkeys(("id", "image", "image_id", "text"), pa.string())


@dataclass(frozen=True)
class _Image:
    """An image of the split file: its split, where it should be, and its captions as (id, text)."""

    split: str
    path: Path
    captions: list[tuple[str, str]]


@has_splits(*SPLITS)
def prepare_coco(root: Path, out: Path, limit: int | None = None, splits: Sequence[str] = ()) -> dict[Path, int]:
    """Write COCO's manifests; see `prepare`."""
    return prepare(root, "coco", out, limit, splits)


@has_splits(*(split for split in SPLITS if split != "restval"))
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
    SPLIT.skipped.jsonl. COCO's test needs val2014 only. A manifest made of the same split file and the same images is
    left as it is; its metadata names the split file, its sha256 and the split.

    Raises:
        UserError: the split file is missing or is not Karpathy's; a split asked for has no image, or none has; another
            program's file is in the way.

    Example:
        prepare(Path("data/coco"), "coco", Path("runs/data/coco"), splits=["test"])
    """
    path = root / f"dataset_{corpus}.json"
    usable: dict[str, list[_Image]] = {}
    skipped: dict[str, list[Bad]] = {}
    reasons = _Reasons()
    for image in progress_bar(list(_images(path, root)), desc="looking for images", unit="image", delay=2):
        found, left_out = usable.setdefault(image.split, []), skipped.setdefault(image.split, [])
        if not splits or image.split in splits:
            reason = "no caption" if not image.captions else reasons.of(image.path)
            if reason:
                left_out.append((str(image.path), reason))
            else:
                found.append(image)
    unknown = [split for split in splits if split not in usable]
    if unknown:
        raise UserError(f"{path}: no split {unknown[0]!r}; found: {', '.join(usable)}")
    chosen = list(splits) or [split for split, found in usable.items() if found]
    for split in chosen or usable:
        if not usable[split]:
            first, reason = skipped[split][0]
            raise UserError(
                f"{path}: none of the {len(skipped[split])} images of {split} can be used, the first: {first} "
                f"({reason}); unpack the images beside it"
            )
    written: dict[Path, int] = {}
    for split in chosen:
        manifest = out / f"{split}.parquet"
        columns = _COLUMNS | ({"text_id": pa.string()} if split in TESTED else {})
        made = {"corpus": f"{corpus}_karpathy", "limit": limit, "split_file": path.name, "sha256": sha256_of(path)}
        homes = {folder: reference(folder, manifest) for folder in {image.path.parent for image in usable[split]}}
        made |= {"split": split, "source": _source(usable[split], skipped[split], homes)}
        rows = _rows(usable[split], homes, limit, split)
        written |= write_manifest(manifest, columns, rows, skipped[split], made, exact=True)
    return written


def _rows(images: list[_Image], homes: dict[Path, str], limit: int | None, split: str) -> Iterator[dict[str, str]]:
    """A row for each caption; `text_id` is written where the manifest has that column."""
    captions = ((image, number, text) for image in images for number, text in image.captions)
    total = sum(len(image.captions) for image in images)
    left = total if limit is None else min(limit, total)
    for (image, number, text), _ in zip(
        captions, progress_bar(range(left), desc=split, unit="caption", delay=2), strict=False
    ):
        file = os.path.join(homes[image.path.parent], image.path.name)  # noqa: PTH118
        yield {"id": number, "image": file, "image_id": image.path.name, "text": text, "text_id": number}


def _source(images: list[_Image], skipped: list[Bad], homes: dict[Path, str]) -> str:
    """A fingerprint of the images to be named, of how they are, and of what is left out."""
    named = [[homes[image.path.parent], image.path.name] for image in images]
    return hashlib.sha256(json.dumps([named, skipped]).encode()).hexdigest()[:16]


class _Reasons:
    """Why an image cannot be used; every folder is listed once."""

    def __init__(self) -> None:
        self._known: dict[Path, dict[str, str | None]] = {}

    def of(self, path: Path) -> str | None:
        """The reason, or none."""
        if path.parent not in self._known:
            bad: list[Bad] = []
            names = image_files(path.parent, bad) if path.parent.is_dir() else []
            self._known[path.parent] = dict.fromkeys(names) | {Path(item).name: reason for item, reason in bad}
        return self._known[path.parent].get(path.name, "no such file")


def _images(path: Path, root: Path) -> Iterator[_Image]:
    """The images of the split file, in its order."""
    content = _content(path)
    root = root.resolve()
    flat = next((root / name for name in FOLDERS if (root / name).is_dir()), root / FOLDERS[0])
    for number, entry in enumerate(content):
        try:
            folder = root / entry["filepath"] if "filepath" in entry else flat
            captions = [(str(s["sentid"]), " ".join(s["raw"].split())) for s in entry["sentences"]]
            image = _Image(str(entry["split"]), folder / str(entry["filename"]), [c for c in captions if c[1]])
        except (KeyError, TypeError, AttributeError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise UserError(f"{path}: images[{number}] is not as in Karpathy's file ({reason})") from error
        if image.split not in SPLITS:
            raise UserError(f"{path}: images[{number}]: split {image.split!r}, expected one of {', '.join(SPLITS)}")
        if not image.path.is_relative_to(root) or ".." in PurePosixPath(image.path).parts:
            raise UserError(f"{path}: images[{number}]: {image.path} is not inside {root}; is it Karpathy's file?")
        yield image


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
