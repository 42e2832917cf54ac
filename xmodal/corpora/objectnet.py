"""ObjectNet: objects in unusual places and poses; the classes that overlap ImageNet's (113 in version 1.0).

Enters: `objectnet-1.0` as unpacked, with its own mappings. Leaves: `OUT/test.parquet`. The images stay as they are; the
manifest names them without the red border that marks them as a test (`FILE@inset2`: two pixels on every side, as the
evaluations of ObjectNet in use cut them).
"""

import json
from pathlib import Path
from typing import Any

from xmodal.corpora.image_folder import COLUMNS, labelled_images
from xmodal.corpora.image_manifest import TEXTS, chosen_splits, write_manifest
from xmodal.data.unusable import Bad
from xmodal.errors import UserError

BORDER = 2  # pixels on every side, the red line of one pixel among them

_LABELS, _IMAGENET = "mappings/folder_to_objectnet_label.json", "mappings/objectnet_to_imagenet_1k.json"


def prepare(root: Path, out: Path, limit: int | None = None) -> dict[Path, int]:
    """Write `OUT/test.parquet`: `id`, `image`, `label` ("Alarm clock"), `imagenet` (the classes it stands for).

    The label is ObjectNet's: a class may stand for several of ImageNet's, so there is no one wnid. The classes without
    a counterpart are left out. With a limit the rows are taken evenly over the classes.

    Raises:
        UserError: `images` or the mappings are missing or broken, or no folder is in them.

    Example:
        prepare(Path("data/objectnet-1.0"), Path("runs/data/objectnet"))
    """
    chosen_splits(root, ["test"], {"test": ["images", _LABELS, _IMAGENET]})
    names, counterparts = _mapping(root / _LABELS), _mapping(root / _IMAGENET)
    classes = {folder: name for folder, name in names.items() if name in counterparts}
    skipped: list[Bad] = []
    path = out / "test.parquet"
    expected = f"the class folders of {_LABELS}"
    rows = (
        {**row, "image": f"{row['image']}@inset{BORDER}", "imagenet": counterparts[row["label"]].split("; ")}
        for row in labelled_images(root / "images", path, limit, skipped, classes.get, expected, len(classes))
    )
    return write_manifest(path, COLUMNS | {"imagenet": TEXTS}, rows, skipped, {"corpus": "objectnet", "limit": limit})


def _mapping(path: Path) -> dict[str, str]:
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON; unpack the archive again") from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise UserError(f"{path}: expected an object of names, found {type(found).__name__}; unpack the archive again")
    return found
