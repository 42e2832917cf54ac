"""Weights that runs hold alike, a locked tower's say, stand on the disk once.

A run folder is whole by itself: it may be moved, copied or removed while its weights are linked to another's, and
nothing in xmodal changes a file of weights where it lies.
"""

import filecmp
import os
from collections.abc import Iterable
from pathlib import Path


def link_same_weights(folder: Path, others: Iterable[Path]) -> int:
    """Make each file of a run's towers a hard link to the same file of another run, where that has the same bytes.

    Args:
        folder: the run.
        others: runs to look in, on the same disk.

    Returns:
        The bytes that this freed. A disk that knows no links keeps both files.
    """
    freed = 0
    for file in sorted((folder / "towers").rglob("*.safetensors")):
        for other in others:
            twin = other / file.relative_to(folder)
            if not twin.is_file() or twin.samefile(file) or not filecmp.cmp(twin, file, shallow=False):
                continue
            freed += _linked(file, twin)
            break
    return freed


def _linked(file: Path, twin: Path) -> int:
    beside = file.with_name(f"{file.name}.{os.getpid()}.link")
    try:
        os.link(twin, beside)
        beside.replace(file)
    except OSError:
        return 0
    finally:
        beside.unlink(missing_ok=True)
    return file.stat().st_size
