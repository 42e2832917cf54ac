"""A tower's backbone weights as a run keeps them: read from RUN/model.safetensors, or from RUN/towers/<modality>/.

Input: a folder and a backbone. Output: the backbone with those weights, or the file. A file's tensors are named
`towers.<modality>.backbone.<parameter>`.
"""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from xmodal.errors import UserError
from xmodal.files import written_whole
from xmodal.towers.lora import own_state

FILE = "model.safetensors"


def read_tower_weights(folder: Path, prefix: str) -> dict[str, Tensor]:
    """Tensors of FOLDER/model.safetensors whose name starts with `prefix`, the prefix taken off.

    Raises:
        UserError: the file is missing or damaged.

    Example:
        read_tower_weights(Path("runs/demo"), "towers.speech.backbone.")
    """
    path = folder / FILE
    try:
        with safe_open(path, "pt") as file:
            names = file.keys()
            return {name.removeprefix(prefix): file.get_tensor(name) for name in names if name.startswith(prefix)}
    except FileNotFoundError:
        raise UserError(f"{path}: not found; `weights` names the folder of a finished run") from None
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read as safetensors ({error})") from error


def take_weights(backbone: nn.Module, folder: Path) -> None:
    """Load the weights of the one tower under `folder` whose backbone has the same names and shapes.

    A tower that was locked in that run is not in RUN/model.safetensors but in RUN/towers/<modality>/.

    Raises:
        UserError: no tower fits, or more than one does.
    """
    wanted, seen = shapes_of(backbone.state_dict()), []
    for place in [folder, *sorted(path.parent for path in folder.glob(f"towers/*/{FILE}"))]:
        modalities = sorted({name.split(".")[0] for name in read_tower_weights(place, "towers.")})
        states = [read_tower_weights(place, f"towers.{modality}.backbone.") for modality in modalities]
        seen += [f"{modality} in {place / FILE}" for modality in modalities]
        fitting = [state for state in states if shapes_of(state) == wanted]
        if len(fitting) == 1:
            backbone.load_state_dict(fitting[0])
            return
    raise UserError(
        f"weights: {folder}: expected one tower with these names and shapes, found other towers or several alike "
        f"({', '.join(seen) or 'no tower at all'}); the tower's sizes (widths, layers, ...) must be those of that run"
    )


def shapes_of(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Each tensor's shape."""
    return {name: tuple(value.shape) for name, value in state.items()}


def save_backbone(backbone: nn.Module, folder: Path) -> None:
    """Write FOLDER/model.safetensors atomically, so that `take_weights(backbone, folder)` gives the same backbone.

    The folder's name stands for the modality: RUN/towers/speech holds `towers.speech.backbone.*`. Low-rank updates are
    left out: they train, so their place is the run's own file.
    """
    prefix = f"towers.{folder.name}.backbone."
    tensors = {prefix + name: value.detach().cpu().contiguous() for name, value in own_state(backbone).items()}
    with written_whole(folder / FILE) as beside:
        save_file(tensors, beside)
