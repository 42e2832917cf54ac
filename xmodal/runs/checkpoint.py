"""What a run leaves on disk, written so that a kill at any moment leaves something that loads.

    RUN/config.yaml            the resolved config
    RUN/versions.json          package versions
    RUN/towers/<modality>/     what rebuilds a tower offline: backbone config, tokenizer, weights where it is locked
    RUN/model.safetensors      the kept weights (best by `train.best`, else the last): everything that trains
    RUN/checkpoints/step-N/    the newest state for `train.resume`: model, optimizer, random generators, state.json
    RUN/labels.json            the labels of the training pairs, where they have any
    RUN/metrics.jsonl, RUN/tensorboard/, RUN/skipped.jsonl, RUN/report/

A checkpoint is written under another name and renamed when complete; only then is the older one removed. Nothing is
pickled: tensors are safetensors, the rest is JSON.
"""

import itertools
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from xmodal.aligner.aligner import Aligner
from xmodal.config.load import config_differences, dump_config, load_config
from xmodal.config.schema import RunConfig
from xmodal.config.yaml_text import read_yaml
from xmodal.errors import UserError
from xmodal.files import write_json, write_text, written_whole
from xmodal.provenance import versions


def trained_state(aligner: Aligner) -> dict[str, Tensor]:
    """Parameters and buffers that training may change: all but the backbones of locked towers, and those under LoRA."""
    towers = {name: aligner.tower(name) for name in aligner.towers}
    fixed = {f"towers.{m}.{name}" for m, tower in towers.items() for name in tower.state_dict() if tower.fixed(name)}
    return {
        name: value.detach().to("cpu", copy=True).contiguous()  # copies: tied weights share memory, safetensors may not
        for name, value in aligner.state_dict().items()
        if name not in fixed
    }


def load_trained_state(aligner: Aligner, state: dict[str, Tensor], where: str) -> None:
    """Load what `trained_state` gave, all of it.

    Raises:
        UserError: a tensor is missing, unknown or of another shape.
    """
    own = trained_state(aligner)
    for name, value in state.items():
        if name not in own:
            raise UserError(f"{where}: holds {name}, which this config does not build; was it edited?")
        if own[name].shape != value.shape:
            raise UserError(f"{where}: {name} is {tuple(value.shape)}, the config builds {tuple(own[name].shape)}")
    absent = sorted(own.keys() - state.keys())
    if absent:
        raise UserError(f"{where}: lacks {absent[0]} ({len(absent)} of {len(own)} tensors missing); was it edited?")
    aligner.load_state_dict(state, strict=False)


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file atomically."""
    with written_whole(path) as beside:
        save_file(tensors, beside)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        UserError: missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read as safetensors ({error})") from error


# ------------------------------------------------------------------------------------------------------- run folders


def open_run(config: RunConfig) -> Path | None:
    """Prepare the run folder; returns the newest checkpoint when the run goes on, None when it starts.

    Raises:
        UserError: the folder holds something else, a run that was not asked to resume, or a run of another config.
    """
    folder = config.output
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output: {folder} is a file; choose another folder")
    there = [p for p in folder.iterdir() if p.suffix != ".tmp"] if folder.exists() else []
    if not there or (is_run(folder) and not has_weights(folder)):  # nothing was trained yet: start (over)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder / "towers", ignore_errors=True)
    elif not is_run(folder):
        raise UserError(f"output: {folder} exists and is not a run of xmodal; choose another folder (output=...)")
    elif not config.train.resume:
        newest = newest_checkpoint(folder)
        found = f"at {newest.name}" if newest else "its weights only"
        raise UserError(
            f"output: {folder} already holds a run ({found}); go on with train.resume=true, "
            "or choose another folder with output=..."
        )
    else:
        differences = [
            line
            for line in config_differences(load_config(folder / "config.yaml"), config)
            if not line.startswith(("train.resume:", "train.threads:", "output:"))  # a folder may be moved
        ]
        if differences:
            raise UserError("\n".join(f"{folder}: cannot resume with another config: {line}" for line in differences))
        return newest_checkpoint(folder)
    write_text(folder / "config.yaml", dump_config(config))
    write_json(folder / "versions.json", versions())
    return None


def is_run(folder: Path) -> bool:
    """Is this a run folder: does it hold a run's config.yaml, and not some other program's?"""
    try:
        found = read_yaml((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    return isinstance(found, dict) and {"output", "data", "towers"} <= found.keys()


def has_weights(folder: Path) -> bool:
    """Has a run folder anything that was trained?"""
    return (folder / "model.safetensors").exists() or newest_checkpoint(folder) is not None


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint of a run."""
    found = [p for p in (folder / "checkpoints").glob("step-*") if p.suffix != ".tmp"]
    return max(found, key=lambda p: p.name, default=None)


# ------------------------------------------------------------------------------------------------------- checkpoints


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


def save_checkpoint(
    run: Path,
    aligner: Aligner,
    optimizer: torch.optim.Optimizer,
    state: State,
    generators: list[Tensor],
) -> Path:
    """Write checkpoints/step-N (main process only), then remove older ones; `generators` has one state per process."""
    folder = run / "checkpoints"
    final = folder / f"step-{state.step:08d}"
    for number in itertools.count(1):  # the same step once more, after its evaluation: one of them is always whole
        if not final.exists():
            break
        final = final.with_name(f"step-{state.step:08d}.{number}")
    temporary = final.with_name(final.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file(trained_state(aligner), temporary / "model.safetensors")
    names: dict[Tensor, str] = {parameter: name for name, parameter in aligner.named_parameters()}
    save_file(
        {
            f"{names[parameter]}|{key}": value.detach().cpu().contiguous()
            for parameter, values in optimizer.state.items()
            for key, value in values.items()
        },
        temporary / "optimizer.safetensors",
    )
    save_file({str(rank): g for rank, g in enumerate(generators)}, temporary / "generators.safetensors")
    if (run / "config.yaml").exists():
        shutil.copyfile(run / "config.yaml", temporary / "config.yaml")
    write_json(temporary / "state.json", state.__dict__)
    temporary.replace(final)
    for older in folder.iterdir():
        if older != final:
            shutil.rmtree(older, ignore_errors=True)
    return final


def load_checkpoint(
    checkpoint: Path, aligner: Aligner, optimizer: torch.optim.Optimizer, rank: int
) -> tuple[State, Tensor | None]:
    """Restore weights and optimizer; returns the state and this process's generator state (None: never saved)."""
    load_trained_state(aligner, load_tensors(checkpoint / "model.safetensors"), str(checkpoint))
    saved = load_tensors(checkpoint / "optimizer.safetensors")
    for name, parameter in aligner.named_parameters():
        values = {key.rsplit("|", 1)[1]: value for key, value in saved.items() if key.rsplit("|", 1)[0] == name}
        if values:
            optimizer.state[parameter] = {
                key: value if key == "step" else value.to(parameter.device) for key, value in values.items()
            }
    return read_state(checkpoint / "state.json"), load_tensors(checkpoint / "generators.safetensors").get(str(rank))


def read_state(path: Path) -> State:
    """Read a state.json.

    Raises:
        UserError: missing or damaged.
    """
    try:
        state = State(**json.loads(path.read_text(encoding="utf-8")))
        if not isinstance(state.step, int):
            raise TypeError(f"step is {state.step!r}")
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); remove {path.parent} and resume to start over") from None
    return state


def kept_weights(folder: Path) -> dict[str, Tensor]:
    """The weights a run offers: model.safetensors, else those of the newest checkpoint.

    Raises:
        UserError: the folder holds no run, or no weights yet.
    """
    if not (folder / "config.yaml").exists():
        raise UserError(f"{folder}: not a run folder (no config.yaml); give the folder named by `output`")
    if (folder / "model.safetensors").exists():
        return load_tensors(folder / "model.safetensors")
    newest = newest_checkpoint(folder)
    if newest is None:
        raise UserError(f"{folder}: no weights yet; training stopped before its first checkpoint (train.save_every)")
    return load_tensors(newest / "model.safetensors")
