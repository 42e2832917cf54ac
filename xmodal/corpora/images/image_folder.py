"""Any folder of class folders: `ROOT/<class>/<image>`. Output: `OUT/images.parquet`, the folder's name as the label.

The readers of ImageNet and its relatives, which come as such folders, build on `labelled_images`.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from xmodal.corpora.image_manifest import evenly, fingerprint, image_files, reference, write_manifest
from xmodal.data.unusable import Bad
from xmodal.errors import UserError
from xmodal.progress import progress_bar

COLUMNS = {"id": pa.string(), "image": pa.string(), "label": pa.string()}

_SHOWN = 5  # folder names in an error line


def prepare(root: Path, out: Path, limit: int | None = None) -> dict[Path, int]:
    """Write `OUT/images.parquet` (`id`, `image`, `label`); a class folder without images is left out, and named.

    With a limit the rows are taken evenly over the classes. A manifest made of the same folders is left as it is.

    Raises:
        UserError: no such folder, no folders in it, or no image in any of them.

    Example:
        prepare(Path("data/flowers"), Path("runs/data/flowers"))
    """
    skipped: list[Bad] = []
    path = out / "images.parquet"
    rows = labelled_images(root, path, limit, skipped, lambda name: name, "class folders with images in them")
    made = {"corpus": "image_folder", "limit": limit, "source": fingerprint(path, class_folders(root))}
    return write_manifest(path, COLUMNS, rows, skipped, made)


def class_folders(root: Path) -> list[Path]:
    """The folders in `root`, sorted; hidden ones, and all where there is no such folder, left out."""
    found = root.iterdir() if root.is_dir() else ()
    return sorted(path for path in found if path.is_dir() and not path.name.startswith("."))


def labelled_images(
    root: Path,
    manifest: Path,
    limit: int | None,
    skipped: list[Bad],
    label_of: Callable[[str], str | None],
    expected: str,
    classes: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Rows `id` (folder/name), `image`, `label` of every image in the class folders of `root`, sorted.

    Args:
        root: holds a folder for each class; images are taken from the folder itself, not from folders in it.
        manifest: where the rows will be; images are named from there.
        limit: keep this many, evenly over the classes.
        skipped: filled with the folders and files left out.
        label_of: a folder's name to its label; none: not a class of this corpus.
        expected: what `root` should hold, for the error line.
        classes: how many there should be; another number is noted in `skipped`.

    Raises:
        UserError: no such folder, or no image in any class folder.

    Example:
        rows = labelled_images(root, out / "images.parquet", None, skipped, str.lower, "class folders")
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; expected {expected}")
    folders = class_folders(root)
    found: list[tuple[str, str]] = []  # folder, file
    filled = 0
    for folder in progress_bar(folders, desc=f"listing {root.name}", unit="class", delay=2):
        if label_of(folder.name) is None or not _is_utf8(folder.name):
            skipped.append((str(folder), "not a class of this corpus, or its name is not UTF-8"))
            continue
        names = image_files(folder, skipped)
        filled += bool(names)
        if not names:
            skipped.append((str(folder), "class folder without images"))
        found += [(folder.name, name) for name in names]
    if not found:
        there = ", ".join(folder.name for folder in folders[:_SHOWN]) + (", ..." if len(folders) > _SHOWN else "")
        raise UserError(f"{root}: found {f'folders {there}' if there else 'no folders'}; expected {expected}")
    if classes is not None and filled != classes:
        skipped.append((str(root), f"{filled} classes with images; the whole corpus has {classes}"))
    home = reference(root, manifest)
    for row in evenly(len(found), limit):
        folder_name, name = found[row]
        image = os.path.join(home, folder_name, name)  # noqa: PTH118 (a million Paths are slow)
        yield {"id": f"{folder_name}/{name}", "image": image, "label": label_of(folder_name)}


def _is_utf8(name: str) -> bool:
    return name == name.encode("utf-8", "ignore").decode()
