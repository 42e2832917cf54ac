"""Replace a report's files in a folder as a whole, and leave everything else in that folder alone.

Enters: a folder and a function that writes the new files somewhere. Leaves: the folder with the new files. The new
files are made in `.report.tmp`; one rename to `.report.ready` is the moment the new report counts; after it the files
only have to be moved into place, and whoever comes next finishes that if this process is killed meanwhile.
"""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

INDEX = "report.json"  # moved last; lists the figures, so that an older report's pictures can be taken away


def replace_files(folder: Path, make: Callable[[Path], None]) -> None:
    """Call `make(stage)` on an empty folder, then move what it wrote into `folder`.

    If `make` raises, `folder` is what it was.
    """
    fresh = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    finish(folder)
    stage = folder / ".report.tmp"
    shutil.rmtree(stage, ignore_errors=True)  # left by a process that was killed
    try:
        stage.mkdir()
        make(stage)
        stage.rename(folder / ".report.ready")
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        if fresh:
            with suppress(OSError):
                folder.rmdir()
        raise
    finish(folder)


def finish(folder: Path) -> None:
    """Move a complete new report into place, if one lies ready. Any number of calls has the effect of one."""
    ready = folder / ".report.ready"
    if not ready.is_dir():
        return
    if (ready / INDEX).is_file():
        for outdated in _figures(folder / INDEX) - _figures(ready / INDEX):
            (folder / outdated).unlink(missing_ok=True)
    files = sorted((p for p in ready.rglob("*") if p.is_file()), key=lambda p: (p.name == INDEX, str(p)))
    for file in files:
        target = folder / file.relative_to(ready)
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)
    shutil.rmtree(ready)


def _figures(index: Path) -> set[str]:
    try:
        paths = json.loads(index.read_text(encoding="utf-8"))["figures"].values()
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return set()
    # only what a report writes: a hand-edited index must not reach other files
    return {p for p in paths if isinstance(p, str) and p.startswith("figures/") and ".." not in p}
