"""Published checksums of archives. Input: `checksums.yaml`, a folder. Output: which archives differ."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from xmodal.errors import UserError
from xmodal.progress import progress_bar

PUBLISHED: dict[str, dict[str, list[dict[str, Any]]]] = yaml.safe_load(
    Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")
)

_CHUNK = 2**20  # bytes


def verify(corpus: str, folder: Path) -> Iterator[tuple[str, str, bool]]:
    """Check every archive of a corpus whose checksum is published.

    Yields:
        Its name; "ok", "not there", or what differs; and whether it is fit for use.

    Raises:
        UserError: no such folder; of this corpus no checksum is known.

    Example:
        for name, found, right in verify("coco", Path("data/coco")):
            print(name, found)
    """
    if corpus not in PUBLISHED:
        raise UserError(f"{corpus}: no published checksum is known; known: {', '.join(PUBLISHED)}")
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected one that holds {', '.join(PUBLISHED[corpus])}")
    for name, versions in PUBLISHED[corpus].items():
        difference = differs(folder / name, versions) if (folder / name).is_file() else None
        there = (folder / name).is_file()
        yield name, f"differs: {difference}" if difference else "ok" if there else "not there", not difference


def differs(archive: Path, versions: Sequence[dict[str, Any]]) -> str | None:
    """How an archive differs from all of its published versions; None where it equals one.

    Skip a version whose published size is not the file's; of the others the sha256 (else the md5) is compared.

    Example:
        differs(Path("val2017.zip"), PUBLISHED["coco"]["val2017.zip"])
    """
    size = archive.stat().st_size
    fitting = [version for version in versions if version.get("bytes", size) == size]
    if not fitting:
        return f"{size} bytes, expected {' or '.join(str(version['bytes']) for version in versions)}"
    kind = "sha256" if "sha256" in fitting[0] else "md5"
    digest = hashlib.new(kind, usedforsecurity=False)
    with (
        archive.open("rb") as file,
        progress_bar(total=size, desc=archive.name, unit="B", unit_scale=True, delay=2) as bar,
    ):
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    if digest.hexdigest() in [version.get(kind) for version in fitting]:
        return None
    return f"{kind} {digest.hexdigest()}, expected {' or '.join(str(version.get(kind)) for version in fitting)}"
