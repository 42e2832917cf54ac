"""The tensors of a run: what a checkpoint holds, what an encoder needs; written and read as safetensors, whole."""

from collections.abc import Container, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from xmodal.aligner.aligner import Aligner
from xmodal.errors import UserError
from xmodal.files import written_whole
from xmodal.towers.tower import Tower

FILE = "model.safetensors"


def trained_state(aligner: Aligner) -> dict[str, Tensor]:
    """All that training may change: everything but the backbones of locked towers, and those under LoRA.

    Momentum targets and the terms' queues are in it: a checkpoint goes on from it.
    """
    fixed = {f"towers.{side}.{name}" for side in aligner.towers for name in _fixed(aligner.tower(side))}
    return {name: _copy(value) for name, value in aligner.state_dict().items() if name not in fixed}


def kept_state(aligner: Aligner) -> dict[str, Tensor]:
    """What a finished run offers: the towers, and the terms' parameters (temperature, bias).

    No targets, no queues, and nothing that terms train by an outer problem alone (MetAug's generators).
    """
    outer = {id(p) for name in aligner.terms for p in aligner.term(name).outer_parameters()}
    parameters = {name for name, parameter in aligner.named_parameters() if id(parameter) not in outer}
    return {
        name: value
        for name, value in trained_state(aligner).items()
        if name.startswith("towers.") or (name.startswith("terms.") and name in parameters)
    }


def load_trained_state(aligner: Aligner, state: Mapping[str, Tensor], where: str, whole: bool = True) -> None:
    """Load what `trained_state` gave, or with `whole` false what `kept_state` gave.

    Raises:
        UserError: a tensor is missing, unknown or of another shape.
    """
    own = trained_state(aligner) if whole else kept_state(aligner)
    state = {_renamed(name): value for name, value in state.items()}
    if not whole:  # a checkpoint's, of a run that ended before it kept its weights; or an older version's
        state = {name: value for name, value in state.items() if name in own or name not in trained_state(aligner)}
    require_equal_shapes(own, state, where, growing=_growing(aligner))
    aligner.load_state_dict(dict(state), strict=False)


def load_towers(towers: Mapping[str, Tower], state: Mapping[str, Tensor], where: str) -> None:
    """Load the towers' own part of a run's weights; what belongs to training alone is passed over.

    Raises:
        UserError: a tensor is missing, unknown or of another shape.
    """
    found = {name: value for name, value in state.items() if name.startswith("towers.")}
    own = {
        f"towers.{side}.{name}": value
        for side, tower in towers.items()
        for name, value in tower.state_dict().items()
        if not tower.fixed(name)
    }
    require_equal_shapes(own, found, where)
    for side, tower in towers.items():
        prefix = f"towers.{side}."
        mine = {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
        tower.load_state_dict(mine, strict=False)


def require_equal_shapes(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], where: str, growing: Container[str] = ()
) -> None:
    """Raise `UserError` where two states differ in names or shapes; in the first size, `growing` ones may."""
    for name, value in state.items():
        if name not in own:
            raise UserError(f"{where}: holds {name}, which this config does not build; was it edited?")
        free = int(name in growing)
        if own[name].ndim != value.ndim or own[name].shape[free:] != value.shape[free:]:
            raise UserError(f"{where}: {name} is {tuple(value.shape)}, the config builds {tuple(own[name].shape)}")
    absent = sorted(own.keys() - state.keys())
    if absent:
        raise UserError(f"{where}: lacks {absent[0]} ({len(absent)} of {len(own)} tensors missing); was it edited?")


def save_tensors(tensors: Mapping[str, Tensor], path: Path, about: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file atomically; `about` is its metadata.

    Raises:
        UserError: it cannot be written, such as on a full disk; nothing is left of it.
    """
    with written_whole(path) as beside:
        save_file(dict(tensors), beside, dict(about) if about else None)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        UserError: missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read as safetensors ({error})") from error


def read_metadata(path: Path) -> dict[str, str]:
    """What `save_tensors` was told about a file.

    Raises:
        UserError: missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read as safetensors ({error})") from error


def _growing(aligner: Aligner) -> set[str]:
    """The buffers whose first size training changes: those that their module names in `grows`."""
    return {f"{prefix}.{name}" for prefix, part in aligner.named_modules() for name in getattr(part, "grows", ())}


def _fixed(tower: Tower) -> list[str]:
    return [name for name in tower.state_dict() if tower.fixed(name)]


def _copy(value: Tensor) -> Tensor:
    """On the CPU; tied weights share memory, which safetensors may not."""
    return value.detach().to("cpu", copy=True).contiguous()


def _renamed(name: str) -> str:
    """Format 1 had one term, called `objective`."""
    return f"terms.{name}" if name.startswith("objective.") else name
