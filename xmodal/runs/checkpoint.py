"""Where training stands, on disk: checkpoints/step-N with weights, optimizer, random generators and state.json.

A checkpoint is written under another name and renamed when complete; only then is the older one removed.
"""

import itertools
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xmodal.aligner.aligner import Aligner
from xmodal.errors import UserError
from xmodal.files import write_json
from xmodal.provenance import versions
from xmodal.runs.weights import FILE, load_tensors, load_trained_state, save_tensors, trained_state

FORMAT = 2  # of checkpoints; format 1 had no number


@dataclass
class State:
    """Where training stands, besides weights and optimizer."""

    step: int  # steps done
    best: float | None = None
    best_step: int | None = None
    threads: int | None = None
    evaluated: int | None = None  # the step of the last evaluation
    data: str | None = None  # a digest of the training pairs
    scaler: dict[str, Any] | None = None
    seconds: float = 0.0  # of training steps, without evaluating and saving
    peak_memory_mb: float = 0.0  # of the main process
    format: int = FORMAT


def save_checkpoint(
    run: Path,
    aligner: Aligner,
    optimizer: torch.optim.Optimizer,
    state: State,
    generators: list[Tensor],
) -> Path:
    """Write checkpoints/step-N (main process only), then remove older ones; `generators` has one state per process.

    Raises:
        UserError: it cannot be written, such as on a full disk; what was there stays.
    """
    folder = run / "checkpoints"
    final = folder / f"step-{state.step:08d}"
    for number in itertools.count(1):  # the same step once more, after its evaluation: one of them is always whole
        if not final.exists():
            break
        final = final.with_name(f"step-{state.step:08d}.{number}")
    with _beside(final) as temporary:
        save_tensors(trained_state(aligner), temporary / FILE)
        names: dict[Tensor, str] = {parameter: name for name, parameter in aligner.named_parameters()}
        moments = {
            f"{names[parameter]}|{key}": value.detach().cpu().contiguous()
            for parameter, values in optimizer.state.items()
            for key, value in values.items()
        }
        save_tensors(moments, temporary / "optimizer.safetensors")
        save_tensors({str(rank): g for rank, g in enumerate(generators)}, temporary / "generators.safetensors")
        if (run / "config.yaml").exists():
            shutil.copyfile(run / "config.yaml", temporary / "config.yaml")
        write_json(temporary / "state.json", asdict(state) | {"format": FORMAT, "versions": versions()})
    for older in folder.iterdir():
        if older != final:
            shutil.rmtree(older, ignore_errors=True)
    return final


@contextmanager
def _beside(final: Path) -> Iterator[Path]:
    """A folder that takes `final`'s name when it is complete, and is gone when it fails."""
    temporary = final.with_name(final.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
    except BaseException:  # a half-written step would stay on a full disk
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    temporary.replace(final)


def load_checkpoint(
    checkpoint: Path, aligner: Aligner, optimizer: torch.optim.Optimizer, rank: int
) -> tuple[State, Tensor | None]:
    """Restore weights and optimizer; returns the state and this process's generator state (None: never saved)."""
    state = read_state(checkpoint / "state.json")
    load_trained_state(aligner, load_tensors(checkpoint / FILE), str(checkpoint))
    saved = load_tensors(checkpoint / "optimizer.safetensors")
    old = {"terms.objective.": "objective."} if state.format == 1 else {}
    for name, parameter in aligner.named_parameters():
        for new, before in old.items():
            name = before + name.removeprefix(new) if name.startswith(new) else name
        values = {key.rsplit("|", 1)[1]: value for key, value in saved.items() if key.rsplit("|", 1)[0] == name}
        if values:
            optimizer.state[parameter] = {
                key: value if key == "step" else value.to(parameter.device) for key, value in values.items()
            }
    return state, load_tensors(checkpoint / "generators.safetensors").get(str(rank))


def read_state(path: Path) -> State:
    """Read a state.json; what this xmodal does not know of it is passed over.

    Raises:
        UserError: missing, damaged, or of a newer format.
    """
    known = {field.name for field in fields(State)}
    try:
        found = {"format": 1, **json.loads(path.read_text(encoding="utf-8"))}
        state = State(**{name: value for name, value in found.items() if name in known})
        if not isinstance(state.step, int) or not isinstance(state.format, int):
            raise TypeError(f"step is {state.step!r}")
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); remove {path.parent} and resume to start over") from None
    if state.format > FORMAT:
        raise UserError(
            f"{path.parent}: a checkpoint of format {state.format}, and this xmodal reads up to {FORMAT}; update it: "
            "pip install --upgrade xmodal"
        )
    return state
