"""A folder that is there whole or not at all: written beside its place, and renamed when it is complete."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xmodal.errors import UserError

FORMATS = {  # name -> the module that writes such a folder
    "sentence-transformers": "sentence",
    "open_clip": "open_clip_folder",
    "onnx": "onnx_folder",
}


def require_free(out: Path) -> None:
    """Raise `UserError` where something is in the way of a new folder `out`; an empty folder is not."""
    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        found = "holds files" if out.is_dir() else "is a file"
        raise UserError(f"{out}: {found}, expected a new or an empty folder; name another one, or move it away")


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A folder beside `out` to write into; it becomes `out` when the block ends, and is gone when it fails.

    Raises:
        UserError: there is something at `out`.

    Example:
        with staged(Path("exported")) as folder:
            (folder / "config.json").write_text("{}")
    """
    require_free(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))
    try:
        beside.chmod(0o755)  # mkdtemp's own is for one user alone
        yield beside
        require_free(out)
        beside.replace(out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
