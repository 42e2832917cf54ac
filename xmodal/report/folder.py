"""Replace a report's files in a folder as a whole, and leave everything else in that folder alone.

Input: a folder and a function that writes the new files somewhere. Output: the folder with the new files. The new
files are made in `.report.tmp`; one rename to `.report.ready` is the moment the new report counts; after it the files
only have to be moved into place, and whoever comes next finishes that if this process is killed meanwhile. One process
at a time does any of it: the folder is locked.

Why files and not the whole folder: a report shares its folder with what is not its own (a suite's finished tests, a
user's files), which a swap of two folders would have to move, and could lose when killed in between.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xmodal.errors import UserError

INDEX = "report.json"  # moved last; lists the figures, so that an older report's pictures can be taken away
FIGURES = "figures/"  # where pictures and recordings lie


def replace_files(folder: Path, make: Callable[[Path], None]) -> None:
    """Call `make(stage)` on an empty folder, then move what it wrote into `folder`.

    If `make` raises, `folder` is what it was.

    Raises:
        UserError: a file of that name is there, and no report that it could belong to.
    """
    fresh = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        _move(folder)
        stage = folder / ".report.tmp"
        shutil.rmtree(stage, ignore_errors=True)  # left by a process that was killed
        try:
            stage.mkdir()
            make(stage)
            _refuse_anothers(folder, stage)
            stage.rename(folder / ".report.ready")
        except BaseException:
            shutil.rmtree(stage, ignore_errors=True)
            if fresh:
                with suppress(OSError):
                    folder.rmdir()
            raise
        _move(folder)


def finish(folder: Path) -> None:
    """Move a complete new report into place, if one lies ready. Any number of calls has the effect of one."""
    if (folder / ".report.ready").is_dir():
        with _locked(folder):
            _move(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _refuse_anothers(folder: Path, stage: Path) -> None:
    ours = _is_index(folder / INDEX)
    for file in sorted(path.relative_to(stage) for path in stage.rglob("*") if path.is_file()):
        for place in (folder / file, *((folder / file).parents[: len(file.parts) - 1])):
            wrong = place.is_dir() if place == folder / file else place.exists() and not place.is_dir()
            if wrong or (place == folder / file and place.exists() and not ours):
                raise UserError(f"{place}: in the way, and no part of a report; choose another folder, or move it")


def _is_index(path: Path) -> bool:
    try:
        return {"records", "provenance", "figures"} <= json.loads(path.read_text(encoding="utf-8")).keys()
    except (OSError, ValueError, AttributeError):
        return False


def _move(folder: Path) -> None:
    ready = folder / ".report.ready"
    if not ready.is_dir():
        return
    if (ready / INDEX).is_file():
        for outdated in _media_of(folder / INDEX) - _media_of(ready / INDEX):
            (folder / outdated).unlink(missing_ok=True)
    files = sorted((p for p in ready.rglob("*") if p.is_file()), key=lambda p: (p.name == INDEX, str(p)))
    for file in files:
        target = folder / file.relative_to(ready)
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)
    shutil.rmtree(ready)


def figures_of(index: Path) -> dict[str, str]:
    """Title -> path of a report's figures; only such as a report writes: an edited index must not reach other files."""
    try:
        found = json.loads(index.read_text(encoding="utf-8"))["figures"].items()
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return {}
    return {title: path for title, path in found if is_media(path)}


def is_media(path: object) -> bool:
    """Is it a path that a report writes pictures and recordings to?"""
    return isinstance(path, str) and path.startswith(FIGURES) and ".." not in path


def _media_of(index: Path) -> set[str]:
    """All files of an index that lie in `FIGURES`."""
    try:
        groups = json.loads(index.read_text(encoding="utf-8")).get("examples", {}).values()
        found = {each["file"] for group in groups for each in group if is_media(each["file"])}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        found = set()
    return found | set(figures_of(index).values())
