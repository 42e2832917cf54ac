"""ImageNet-1k, ImageNet-V2, ImageNet-R and ImageNet-A. Enters: the folders as unpacked. Leaves: manifests by wnid.

The label is the wnid (`n01440764`) in all of them, so that one list of names and one subset serve the four.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from xmodal.corpora.image_folder import COLUMNS, labelled_images
from xmodal.corpora.image_manifest import chosen_splits, evenly, image_files, reference, write_manifest
from xmodal.data.unusable import Bad
from xmodal.errors import UserError
from xmodal.evaluation.subsets import load_subset

SPLITS = ("train", "val")
CLASSES = 1000
SUBSET_CLASSES = 200  # of ImageNet-R and of ImageNet-A

_DEVKIT = Path("ILSVRC2012_devkit_t12") / "data"
_TRUTH, _META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"
_VAL_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")
_V2_FOLDER = "imagenetv2-matched-frequency-format-val"
_WNID_FOLDERS = "class folders named by wnid, such as n01440764"


def prepare(root: Path, out: Path, limit: int | None = None, splits: Sequence[str] = ()) -> dict[Path, int]:
    """Write `OUT/train.parquet` and `OUT/val.parquet` (`id`, `image`, `label`), each where `ROOT` has the folder.

    `ROOT/train` and `ROOT/val` hold class folders named by wnid. `ROOT/val` may also hold the images themselves, as
    the archive has them: then the labels are those of `ROOT/ILSVRC2012_devkit_t12`, unpacked. With a limit the rows
    are taken evenly over the classes.

    Raises:
        UserError: neither folder, or not the one asked for; no class folders in it; val is flat and the devkit missing.

    Example:
        prepare(Path("data/imagenet"), Path("runs/data/imagenet"), splits=["val"])
    """
    written: dict[Path, int] = {}
    for split in chosen_splits(root, splits, {split: [split] for split in SPLITS}):
        skipped: list[Bad] = []
        path = out / f"{split}.parquet"
        if split == "val" and any(_VAL_NAME.fullmatch(file.name) for file in (root / split).iterdir()):
            rows = _flat(root, path, limit, skipped)
        else:
            rows = labelled_images(root / split, path, limit, skipped, _wnid, _WNID_FOLDERS, CLASSES)
        written |= write_manifest(path, COLUMNS, rows, skipped, {"corpus": "imagenet", "limit": limit})
    return written


def prepare_v2(root: Path, out: Path, limit: int | None = None) -> dict[Path, int]:
    """Write `OUT/test.parquet` of ImageNet-V2 (matched frequency); its folders 0 to 999 are class indices.

    Raises:
        UserError: no folders of that form.

    Example:
        prepare_v2(Path("data/imagenetv2-matched-frequency-format-val"), Path("runs/data/imagenet_v2"))
    """
    inside = root / _V2_FOLDER
    label_of = {str(index): wnid for index, wnid in enumerate(load_subset("imagenet_v2").labels)}.get
    return _one_set(
        "imagenet_v2", inside if inside.is_dir() else root, out, limit, label_of, "folders 0 to 999", CLASSES
    )


def prepare_r(root: Path, out: Path, limit: int | None = None) -> dict[Path, int]:
    """Write `OUT/test.parquet` of ImageNet-R: renditions of 200 classes, in folders named by wnid.

    Raises:
        UserError: no folders of that form.

    Example:
        prepare_r(Path("data/imagenet-r"), Path("runs/data/imagenet_r"))
    """
    return _one_set("imagenet_r", root, out, limit, _wnid, _WNID_FOLDERS, SUBSET_CLASSES)


def prepare_a(root: Path, out: Path, limit: int | None = None) -> dict[Path, int]:
    """Write `OUT/test.parquet` of ImageNet-A: natural adversarial images of 200 classes, in folders named by wnid.

    Raises:
        UserError: no folders of that form.

    Example:
        prepare_a(Path("data/imagenet-a"), Path("runs/data/imagenet_a"))
    """
    return _one_set("imagenet_a", root, out, limit, _wnid, _WNID_FOLDERS, SUBSET_CLASSES)


def _one_set(
    corpus: str,
    root: Path,
    out: Path,
    limit: int | None,
    label_of: Callable[[str], str | None],
    expected: str,
    classes: int,
) -> dict[Path, int]:
    skipped: list[Bad] = []
    path = out / "test.parquet"
    rows = labelled_images(root, path, limit, skipped, label_of, expected, classes)
    return write_manifest(path, COLUMNS, rows, skipped, {"corpus": corpus, "limit": limit})


def _wnid(folder: str) -> str | None:
    return folder if re.fullmatch(r"n\d{8}", folder) else None


def _flat(root: Path, manifest: Path, limit: int | None, skipped: list[Bad]) -> Iterator[dict[str, Any]]:
    """Rows of a val folder that holds the images themselves, `ILSVRC2012_val_00000001.JPEG` and on."""
    labels = _val_labels(root / _DEVKIT)
    rows: list[tuple[str, str]] = []  # label, name
    missing = set(range(1, len(labels) + 1))
    bad: list[Bad] = []
    usable = image_files(root / "val", bad)
    skipped += bad
    numbers = [_VAL_NAME.fullmatch(Path(item).name) for item, _ in bad]
    missing -= {int(match[1]) for match in numbers if match}  # there, and listed already
    for name in usable:
        match = _VAL_NAME.fullmatch(name)
        number = int(match[1]) if match else 0
        if not 1 <= number <= len(labels):
            skipped.append((str(root / "val" / name), "not an image of the validation set"))
            continue
        missing.discard(number)
        rows.append((labels[number - 1], name))
    skipped += [(f"ILSVRC2012_val_{number:08d}.JPEG", "missing") for number in sorted(missing)]
    rows.sort()
    home = reference(root / "val", manifest)
    for row in evenly(len(rows), limit):
        label, name = rows[row]
        yield {"id": name, "image": str(Path(home) / name), "label": label}


def _val_labels(devkit: Path) -> list[str]:
    """The wnid of each validation image, in order."""
    for name in (_TRUTH, _META):
        if not (devkit / name).is_file():
            raise UserError(
                f"{devkit / name}: no such file; val/ holds no class folders, so its labels come from the devkit: "
                "unpack ILSVRC2012_devkit_t12.tar.gz beside it"
            )
    from scipy.io import loadmat  # slow to import, and needed for this one file

    try:
        synsets = loadmat(devkit / _META, squeeze_me=True)["synsets"]
        wnids = dict(zip(map(int, synsets["ILSVRC2012_ID"]), map(str, synsets["WNID"]), strict=True))
        return [wnids[int(line)] for line in (devkit / _TRUTH).read_text().split()]
    except Exception as error:  # scipy raises all kinds on a file that is not MATLAB's
        raise UserError(f"{devkit}: {_META} and {_TRUTH} do not fit; unpack the devkit again") from error
