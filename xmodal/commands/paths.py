"""Paths as they are typed, checked before anything slow is imported; and the configs, sweeps and suites by bare name.

`configs/` of the checkout is `xmodal/configs/` of an installed package. `demo_cwcl` is `configs/demo_cwcl.yaml` in
either, `coco/lit` is `configs/coco/lit.yaml`, and `sweeps/fsdd` (for the command sweep also `fsdd`) is
`configs/sweeps/fsdd.yaml`.
"""

from difflib import get_close_matches
from pathlib import Path

from xmodal.errors import UserError, no_such_file

FOLDERS = ("cc12m", "coco", "speech")  # of configs; base, suites and sweeps hold no runs
_INSTALLED = Path(__file__).resolve().parents[1] / "configs"
CONFIGS = _INSTALLED if _INSTALLED.is_dir() else _INSTALLED.parents[1] / "configs"


def shipped(folder: str = "") -> list[str]:
    """The bare names of what is shipped: of configs, or of a folder of `configs/` (sweeps, suites)."""
    there = CONFIGS / folder
    inside = [there] if folder else [there, *(there / corpus for corpus in FOLDERS)]
    found = [path for place in inside for path in place.glob("*.yaml")]
    return sorted(path.relative_to(there).with_suffix("").as_posix() for path in found)


def find_yaml(typed: str, folder: str = "") -> Path:
    """The file that is meant: the path, where there is such a file, else the shipped one of this name.

    Args:
        typed: a path, or the name of a shipped file without its suffix.
        folder: of `configs/`: "" for configs, "sweeps" or "suites".

    Raises:
        UserError: neither a file nor a shipped name.

    Example:
        find_yaml("demo_cwcl"), find_yaml("my.yaml"), find_yaml("fsdd", "sweeps")
    """
    path = Path(typed)
    if path.is_file():
        return path
    names = shipped(folder)
    bare = typed.removeprefix(f"{folder}/")
    if bare in names:
        return CONFIGS / folder / f"{bare}.yaml"
    if path.is_dir():
        raise UserError(f"{path}: is a folder, expected a YAML file")
    if path.suffix in (".yaml", ".yml"):
        # `configs/demo_cwcl.yaml`, as in the checkout, typed somewhere else
        name = path.with_suffix("").as_posix().removeprefix("configs/").removeprefix(f"{folder}/")
        called = path.as_posix().startswith("configs/") and name in names
        raise no_such_file(path, f"the one shipped with xmodal is called {name}" if called else None)
    near = get_close_matches(bare, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"shipped are {', '.join(names)}"
    raise UserError(f"{typed}: no such file, and nothing of this name is shipped with xmodal; {hint}")


def require_model(model: str) -> None:
    """Raise `UserError` unless it is a run folder, or looks like the name of a model (`open_clip:...`)."""
    if ":" not in model and not Path(model, "config.yaml").is_file():
        raise UserError(f"{model}: not a run folder (no config.yaml); give the folder named by `output`")


def require_data(*paths: Path | None, hint: str | None = None) -> None:
    """Raise `UserError` for data that are nowhere; names of the hub (`hub:NAME`) are looked up later.

    Args:
        paths: None is passed over.
        hint: the way out; default: the nearest file.
    """
    for path in paths:
        if path is not None and not str(path).startswith("hub:") and not path.exists():
            raise no_such_file(path, hint)


def require_folder(folder: Path) -> None:
    """Raise `UserError` where there is no such folder."""
    if not folder.is_dir():
        raise UserError(f"{folder}: {'is a file, expected a folder' if folder.exists() else 'no such folder'}")
