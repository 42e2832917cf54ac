"""ImageNet-1k, ImageNet-V2, ImageNet-R and ImageNet-A. Input: the folders as unpacked. Output: manifests by wnid.

Of ImageNet-1k also the archives themselves, read in place. The label is the wnid (`n01440764`) in all of them, so that
one list of names and one subset serve the four.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from xmodal.corpora.class_subsets import load_subset
from xmodal.corpora.image_manifest import (
    chosen_splits,
    evenly,
    fingerprint,
    image_files,
    reference,
    sha256_of,
    write_manifest,
)
from xmodal.corpora.images.image_folder import COLUMNS, class_folders, labelled_images
from xmodal.corpora.images.imagenet_tars import Member, members, members_of_tars
from xmodal.corpora.splits import has_splits
from xmodal.data.unusable import Bad
from xmodal.errors import UserError
from xmodal.progress import progress_bar

SPLITS = ("train", "val")
CLASSES = 1000
SUBSET_CLASSES = 200  # of ImageNet-R and of ImageNet-A

_DEVKIT = Path("ILSVRC2012_devkit_t12") / "data"
_TRUTH, _META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"
_VAL_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")
_ARCHIVES = {"train": "ILSVRC2012_img_train.tar", "val": "ILSVRC2012_img_val.tar"}
_V2_FOLDER = "imagenetv2-matched-frequency-format-val"
_WNID_FOLDERS = "class folders named by wnid, such as n01440764"


@has_splits(*SPLITS)
def prepare(root: Path, out: Path, limit: int | None = None, splits: Sequence[str] = ()) -> dict[Path, int]:
    """Write `OUT/train.parquet` and `OUT/val.parquet` (`id`, `image`, `label`), each where `ROOT` has the images.

    Train: `ROOT/train` holds class folders named by wnid, or the tars of the classes (`n01440764.tar`); or else `ROOT`
    holds `ILSVRC2012_img_train.tar`. Val: `ROOT/val` holds class folders, or the images themselves; or else `ROOT`
    holds `ILSVRC2012_img_val.tar`. For the last two the labels are those of `ROOT/ILSVRC2012_devkit_t12`, unpacked.
    Tars are read in place. Ids are the same for every form. With a limit the rows are taken evenly over the classes. A
    manifest made of the same files is left as it is.

    Raises:
        UserError: no images, or not of the split asked for; nothing of the class names in it; no devkit where needed.

    Example:
        prepare(Path("data/imagenet"), Path("runs/data/imagenet"), splits=["val"])
    """
    sources = {
        split: archive if (root / archive).is_file() and not (root / split).is_dir() else split
        for split, archive in _ARCHIVES.items()
    }
    written: dict[Path, int] = {}
    for split in chosen_splits(root, splits, {split: [name] for split, name in sources.items()}):
        skipped: list[Bad] = []
        path, source_path = out / f"{split}.parquet", root / sources[split]
        made: dict[str, Any] = {"corpus": "imagenet", "limit": limit}
        tars = [source_path] if source_path.is_file() else _class_tars(source_path)
        if split == "train" and tars:
            rows = _from_class_tars(tars, path, limit, skipped)
            made["source"] = fingerprint(path, files=tars)
        elif split == "val" and (tars or any(_VAL_NAME.fullmatch(file.name) for file in source_path.iterdir())):
            labels = _val_labels(root / _DEVKIT)
            rows = _flat(source_path, labels, path, limit, skipped)
            made |= {"labels_from": _TRUTH, "labels_sha256": sha256_of(root / _DEVKIT / _TRUTH)}
            devkit = [root / _DEVKIT / name for name in (_TRUTH, _META)]
            made["source"] = fingerprint(path, [] if tars else [source_path], [*tars, *devkit])
        else:
            rows = labelled_images(source_path, path, limit, skipped, _wnid, _WNID_FOLDERS, CLASSES)
            made["source"] = fingerprint(path, class_folders(source_path))
        written |= write_manifest(path, COLUMNS, rows, skipped, made, exact=bool(tars))
    return written


def prepare_v2(root: Path, out: Path, limit: int | None = None) -> dict[Path, int]:
    """Write `OUT/test.parquet` of ImageNet-V2 (matched frequency); its folders 0 to 999 are class indices.

    Raises:
        UserError: no folders of that form.

    Example:
        prepare_v2(Path("data/imagenetv2-matched-frequency-format-val"), Path("runs/data/imagenet_v2"))
    """
    subset = load_subset("imagenet_v2")
    label_of = {str(index): wnid for index, wnid in enumerate(subset.labels)}.get
    made = {"corpus": "imagenet_v2", "classes_from": subset.source, "classes_sha256": subset.sha256}
    return _one_set(made, root, _V2_FOLDER, out, limit, label_of, "folders 0 to 999", CLASSES)


def prepare_r(root: Path, out: Path, limit: int | None = None) -> dict[Path, int]:
    """Write `OUT/test.parquet` of ImageNet-R: renditions of 200 classes, in folders named by wnid.

    Raises:
        UserError: no folders of that form.

    Example:
        prepare_r(Path("data/imagenet-r"), Path("runs/data/imagenet_r"))
    """
    made = {"corpus": "imagenet_r"}
    return _one_set(made, root, "imagenet-r", out, limit, _wnid, _WNID_FOLDERS, SUBSET_CLASSES)


def prepare_a(root: Path, out: Path, limit: int | None = None) -> dict[Path, int]:
    """Write `OUT/test.parquet` of ImageNet-A: natural adversarial images of 200 classes, in folders named by wnid.

    Raises:
        UserError: no folders of that form.

    Example:
        prepare_a(Path("data/imagenet-a"), Path("runs/data/imagenet_a"))
    """
    made = {"corpus": "imagenet_a"}
    return _one_set(made, root, "imagenet-a", out, limit, _wnid, _WNID_FOLDERS, SUBSET_CLASSES)


def _one_set(
    made: dict[str, Any],
    root: Path,
    folder: str,
    out: Path,
    limit: int | None,
    label_of: Callable[[str], str | None],
    expected: str,
    classes: int,
) -> dict[Path, int]:
    """A set of one manifest; `root` is its folder, or holds it under the name it is unpacked to."""
    root = root / folder if (root / folder).is_dir() else root
    skipped: list[Bad] = []
    path = out / "test.parquet"
    rows = labelled_images(root, path, limit, skipped, label_of, expected, classes)
    made = made | {"limit": limit, "source": fingerprint(path, class_folders(root))}
    return write_manifest(path, COLUMNS, rows, skipped, made)


def _wnid(folder: str) -> str | None:
    return folder if re.fullmatch(r"n\d{8}", folder) else None


def _class_tars(train: Path) -> list[Path]:
    """The tars of the classes, where there are more of them than folders of classes."""
    tars = sorted(path for path in train.glob("n*.tar") if _wnid(path.stem) and path.is_file())
    return tars if len(tars) > sum(_wnid(folder.name) is not None for folder in class_folders(train)) else []


def _from_class_tars(
    tars: list[Path], manifest: Path, limit: int | None, skipped: list[Bad]
) -> Iterator[dict[str, Any]]:
    """Rows of the tars of classes, or of the one tar that holds them."""
    found: dict[str, list[Member]] = {}
    if tars[0].name == _ARCHIVES["train"]:
        found |= {wnid: images for wnid, images in members_of_tars(tars[0], skipped) if _wnid(wnid)}
    else:
        for tar in progress_bar(tars, desc="indexing classes", unit="tar", delay=2):
            found[tar.stem] = members(tar, skipped)
    skipped += [(str(tars[0].parent / f"{wnid}.tar"), "no image of a class in it") for wnid in found if not found[wnid]]
    filled = sum(map(bool, found.values()))
    if filled != CLASSES:
        skipped.append((str(tars[0].parent), f"{filled} classes with images; the whole corpus has {CLASSES}"))
    home = Path(reference(tars[0].parent, manifest))
    images = [(wnid, member) for wnid in sorted(found) for member in sorted(found[wnid])]
    for row in evenly(len(images), limit):
        wnid, (name, source) = images[row]
        yield {"id": f"{wnid}/{name}", "image": str(home / source), "label": wnid}


def _flat(
    source: Path, labels: list[str], manifest: Path, limit: int | None, skipped: list[Bad]
) -> Iterator[dict[str, Any]]:
    """Rows of a folder or a tar that holds the validation images, `ILSVRC2012_val_00000001.JPEG` and on."""
    bad: list[Bad] = []
    usable = members(source, bad) if source.is_file() else [(name, name) for name in image_files(source, bad)]
    skipped += bad
    home = Path(reference(source.parent if source.is_file() else source, manifest))
    rows: list[tuple[str, str, str]] = []  # label, name, source
    missing = set(range(1, len(labels) + 1))
    numbers = [_VAL_NAME.search(item) for item, _ in bad]
    missing -= {int(match[1]) for match in numbers if match}  # there, and listed already
    for name, where in usable:
        match = _VAL_NAME.fullmatch(name)
        number = int(match[1]) if match else 0
        if not 1 <= number <= len(labels):
            skipped.append((str(source / name), "not an image of the validation set"))
            continue
        missing.discard(number)
        rows.append((labels[number - 1], name, where))
    skipped += [(f"ILSVRC2012_val_{number:08d}.JPEG", "missing") for number in sorted(missing)]
    rows.sort()
    for row in evenly(len(rows), limit):
        label, name, where = rows[row]
        yield {"id": name, "image": str(home / where), "label": label}


def _val_labels(devkit: Path) -> list[str]:
    """The wnid of each validation image, in order."""
    for name in (_TRUTH, _META):
        if not (devkit / name).is_file():
            raise UserError(
                f"{devkit / name}: no such file; the val images are in no class folders, so their labels come from "
                "the devkit: unpack ILSVRC2012_devkit_t12.tar.gz beside it"
            )
    from scipy.io import loadmat  # slow to import, and needed for this one file

    try:
        synsets = loadmat(devkit / _META, squeeze_me=True)["synsets"]
        wnids = dict(zip(map(int, synsets["ILSVRC2012_ID"]), map(str, synsets["WNID"]), strict=True))
        return [wnids[int(line)] for line in (devkit / _TRUTH).read_text().split()]
    except Exception as error:  # scipy raises all kinds on a file that is not MATLAB's
        raise UserError(f"{devkit}: {_META} and {_TRUTH} do not fit; unpack the devkit again") from error
