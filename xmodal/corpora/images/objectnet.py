"""ObjectNet: objects in unusual places and poses; the classes that overlap ImageNet's (113 in version 1.0).

Input: `objectnet-1.0` as unpacked, with its own mappings. Output: `OUT/test.parquet`. The images stay as they are; the
manifest names them without the red border that marks them as a test (`FILE@inset2`: two pixels on every side, as the
evaluations of ObjectNet in use cut them). Labels are in lower case, as they stand in the prompts of those evaluations.
"""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from xmodal.corpora.image_manifest import TEXTS, chosen_splits, fingerprint, sha256_of, write_manifest
from xmodal.corpora.images.image_folder import COLUMNS, class_folders, labelled_images
from xmodal.data.unusable import Bad
from xmodal.errors import UserError

BORDER = 2  # pixels on every side, the red line of one pixel among them

_FOLDER = "objectnet-1.0"
_LABELS, _IMAGENET = "mappings/folder_to_objectnet_label.json", "mappings/objectnet_to_imagenet_1k.json"


def prepare(root: Path, out: Path, limit: int | None = None) -> dict[Path, int]:
    """Write `OUT/test.parquet`: `id`, `image`, `label`, `objectnet_label`, `imagenet` (the classes it stands for).

    The label is ObjectNet's in lower case ("alarm clock"), `objectnet_label` as published ("Alarm clock"): a class may
    stand for several of ImageNet's, so there is no one wnid. The classes without a counterpart are left out. With a
    limit the rows are taken evenly over the classes. `ROOT` may also be the folder that holds `objectnet-1.0`. A
    manifest made of the same files is left as it is.

    Raises:
        UserError: `images` or the mappings are missing or broken, or no folder is in them.

    Example:
        prepare(Path("data/objectnet-1.0"), Path("runs/data/objectnet"))
    """
    root = root / _FOLDER if (root / _FOLDER).is_dir() else root
    chosen_splits(root, ["test"], {"test": ["images", _LABELS, _IMAGENET]})
    names, counterparts = _mapping(root / _LABELS), _mapping(root / _IMAGENET)
    classes = {folder: name for folder, name in names.items() if name in counterparts}
    skipped: list[Bad] = []
    path = out / "test.parquet"
    expected = f"the class folders of {_LABELS}"
    rows = (
        {
            **row,
            "image": f"{row['image']}@inset{BORDER}",
            "label": row["label"].lower(),
            "objectnet_label": row["label"],
            "imagenet": counterparts[row["label"]].split("; "),
        }
        for row in labelled_images(root / "images", path, limit, skipped, classes.get, expected, len(classes))
    )
    made = {"corpus": "objectnet", "limit": limit, "classes_from": Path(_IMAGENET).name}
    made |= {"classes_sha256": sha256_of(root / _IMAGENET)}
    folders = [folder for folder in class_folders(root / "images") if folder.name in classes]
    made["source"] = fingerprint(path, folders, [root / _LABELS])
    columns = COLUMNS | {"objectnet_label": pa.string(), "imagenet": TEXTS}
    return write_manifest(path, columns, rows, skipped, made)


def _mapping(path: Path) -> dict[str, str]:
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON; unpack the archive again") from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise UserError(f"{path}: expected an object of names, found {type(found).__name__}; unpack the archive again")
    return found
