"""What may not lie in a run folder that goes to the hub or comes from it: pickles, and code that was not asked for."""

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath, PurePosixPath

from xmodal.errors import UserError

# numpy's may hold pickles; a .bin of a tower is told by its first bytes: CTranslate2's and ONNX's are none
PICKLED = {".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npz", ".npy"}
CODE = {".py", ".pyc", ".so", ".pyd"}
_PROTOCOLS = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))  # how a pickle starts
_ZIP = b"PK\x03\x04"  # how torch's archive of a pickle starts
OF_OTHERS = (
    "take a revision without them, or have its owner push the run anew with `xmodal push`, which writes safetensors"
)
ONES_OWN = "take them out of the run folder"


def require_safe_names(names: Iterable[str], where: str, trust_remote_code: bool, way_out: str = OF_OTHERS) -> None:
    """Look at the names of a hub folder's files, before one of them is fetched.

    Args:
        names: relative, with slashes.
        where: what the error starts with.
        trust_remote_code: is code among them expected?
        way_out: where a pickle is among them.

    Raises:
        UserError: a pickle; code that nobody trusts; a name that leads out of the folder.
    """
    paths = [PurePosixPath(name) for name in names]
    for path in paths:
        if path.is_absolute() or ".." in path.parts:
            raise UserError(f"{where}: holds {str(path)!r}, which leads out of its folder; do not use it")
    pickled = [str(p) for p in paths if _suffix(p) in PICKLED or (_suffix(p) == ".bin" and not _may_be_plain(p))]
    if pickled:
        raise _pickled(where, pickled, way_out)
    code = [str(path) for path in paths if _suffix(path) in CODE]
    if code and not trust_remote_code:
        raise UserError(
            f"{where}: comes with code of its own ({_listed(code)}), which is run only where it is trusted: read it, "
            "then load with trust_remote_code=True (--trust-remote-code)"
        )


def require_safe_files(
    files: Mapping[str, Path], where: str, trust_remote_code: bool, way_out: str = OF_OTHERS
) -> None:
    """The same for files on the disk, whose .bin files are looked into.

    Args:
        files: name in the repository -> where it lies.
        where: what the error starts with.
        trust_remote_code: is code among them expected?
        way_out: where a pickle is among them.

    Raises:
        UserError: see `require_safe_names`.
    """
    require_safe_names(files, where, trust_remote_code, way_out)
    pickled = [name for name, file in files.items() if _suffix(Path(name)) == ".bin" and is_pickle(file)]
    if pickled:
        raise _pickled(where, pickled, way_out)


def is_pickle(file: Path) -> bool:
    """Do a file's first bytes say that it is a pickle, or an archive that torch puts one into?"""
    with file.open("rb") as opened:
        start = opened.read(4)
    return start.startswith(_PROTOCOLS) or start == _ZIP


def _suffix(path: PurePath) -> str:
    return path.suffix.lower()


def _may_be_plain(path: PurePosixPath) -> bool:
    return path.parts[0] == "towers" and not path.name.lower().startswith(("pytorch_model", "training_args"))


def _pickled(where: str, names: list[str], way_out: str) -> UserError:
    return UserError(f"{where}: holds pickled files ({_listed(names)}), which are never opened; {way_out}")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f", {len(names) - 3} more" if len(names) > 3 else "")
