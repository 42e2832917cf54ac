"""What a run leaves on disk, written so that a kill at any moment leaves something that loads.

    RUN/config.yaml            the resolved config, with the folder's `format`
    RUN/versions.json          package versions
    RUN/towers/<side>/         what rebuilds a tower offline: backbone config, tokenizer, weights where it is locked
    RUN/model.safetensors      the kept weights (best by `train.best`, else the last): everything that trains
    RUN/checkpoints/step-N/    the newest state for `train.resume` (see checkpoint.py)
    RUN/changes.jsonl          what was changed on resuming, and at which step
    RUN/labels.json            the labels of the training pairs, where they have any
    RUN/clusters/epoch-N.safetensors  the clusters that stand for labels (`data.clusters`), and their centres
    RUN/metrics.jsonl, RUN/tensorboard/, RUN/skipped.jsonl, RUN/report/

Nothing is pickled: tensors are safetensors, the rest is JSON and YAML.
"""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from xmodal.config.earlier import fill_in
from xmodal.config.load import config_differences, dump_config, load_config
from xmodal.config.schema import RunConfig
from xmodal.config.yaml_text import read_yaml
from xmodal.errors import UserError
from xmodal.files import write_json, write_text
from xmodal.provenance import versions
from xmodal.runs.weights import FILE, load_tensors

FORMAT = 2  # of run folders; every earlier one is read too
# On resuming, keys that change no past and no future step are free, ...
FREE = re.compile(
    r"output|train\.(resume|threads|log_every|save_every|eval_every|trackers|tracker_options.*)"
    r"|data\.(max_bad|workers|cache_mb|made_by)|evaluators\..*"
)
PASSING = ("train.resume:", "train.threads:")  # no reason to write config.yaml anew
# ... and those that change the steps to come are allowed when the user says so, and are written down.
LATER = re.compile(
    r"optim\.(lr|clip|betas|eps|weight_decay|layer_decay|warmup|final)"
    r"|train\.(steps|best|chunk|precision|virtual|virtual_lr)"
    r"|objective\.(.*\.)?(weight|temperature)(\..*)?|targets\.\w+\.(momentum|every)(\..*)?"
)


def open_run(config: RunConfig) -> tuple[Path | None, list[str], bool]:
    """Prepare the run folder.

    Returns:
        The newest checkpoint where the run goes on, None where it starts; what changed since it stopped, a line
        `key: old -> new` each, of keys that change the steps to come; and whether config.yaml is to be written anew,
        once all that can go wrong before the first step has gone right.

    Raises:
        UserError: the folder holds something else, a run that was not asked to resume, or a run of another config.
    """
    folder = config.output
    changed: list[str] = []
    there = require_free(folder)
    newest = None
    if is_run(folder):
        read_run(folder)  # of a newer format: its weights may be where this xmodal does not look
    if not there or (is_run(folder) and not has_weights(folder)):  # nothing was trained yet: start (over)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder / "towers", ignore_errors=True)
        write_json(folder / "versions.json", versions())
    elif not config.train.resume:
        checkpoint = newest_checkpoint(folder)
        found = f"at {checkpoint.name}" if checkpoint else "its weights only"
        raise UserError(
            f"output: {folder} already holds a run ({found}); go on with train.resume=true, "
            "or choose another folder with output=..."
        )
    else:
        differences = config_differences(load_config(folder / "config.yaml", saved=True), config)
        changed = changes(folder, differences, config)
        newest = newest_checkpoint(folder)
        return newest, changed, not all(line.startswith(PASSING) for line in differences)
    write_text(folder / "config.yaml", dump_config(config))
    return newest, changed, False


def require_free(folder: Path) -> list[Path]:
    """What is in a run folder, or in one that may become one. Raises `UserError` where it is something else."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output: {folder} is a file; choose another folder")
    there = [p for p in folder.iterdir() if p.suffix != ".tmp"] if folder.exists() else []
    if there and not is_run(folder):
        raise UserError(f"output: {folder} exists and is not a run of xmodal; choose another folder (output=...)")
    return there


def write_config(config: RunConfig) -> None:
    """Write the config of a run that goes on with other settings."""
    write_text(config.output / "config.yaml", dump_config(config))


def changes(folder: Path, differences: Sequence[str], config: RunConfig) -> list[str]:
    """The differences that change the steps to come.

    Raises:
        UserError: one that cannot be, with a line each; or one that was not asked for.
    """
    keyed = [(line, line.partition(":")[0]) for line in differences]
    judge = f"evaluators.{(config.train.best or '').partition('/')[0]}."  # its numbers are compared over time
    later = [
        line for line, key in keyed if (LATER.fullmatch(key) or key.startswith(judge)) and not _learned(key, config)
    ]
    refused = [line for line, key in keyed if line not in later and not FREE.fullmatch(key)]
    lines = [f"{folder}: cannot resume with another config: {line}" for line in refused]
    if config.train.resume != "changed":
        lines += [
            f"{folder}: {line} changes the steps to come; go on with train.resume=changed, which writes it down"
            for line in later
        ]
    if lines:
        raise UserError("\n".join(lines))
    return later


def _learned(key: str, config: RunConfig) -> bool:
    """Is it the temperature of a term that learns it? What is set is where it starts, and it has started."""
    found = re.fullmatch(r"objective\.(?:(\w+)\.)?temperature(\..*)?", key)
    if found is None or found[1] == "kernel":
        return False
    terms = config.term_specs()
    spec = terms.get(found[1]) if found[1] else next(iter(terms.values()))
    return bool(getattr(spec, "learnable", False))


def read_run(folder: Path) -> dict[str, Any]:
    """The config of a run folder as plain values, of whatever format; keys since then have the meaning of that time.

    Raises:
        UserError: no run folder, or one of a newer xmodal.
    """
    path = folder / "config.yaml"
    if not path.exists():
        raise UserError(f"{folder}: not a run folder (no config.yaml); give the folder named by `output`")
    try:
        found = read_yaml(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())}); restore it") from None
    if not isinstance(found, dict) or not isinstance(found.get("towers"), dict):
        raise UserError(f"{path}: not the config of a run (no towers); give the folder named by `output`")
    number = found.get("format", 1)
    if not isinstance(number, int) or number < 1:
        raise UserError(f"{path}: format {number!r}: expected a whole number, 1 to {FORMAT}; restore the file")
    if number > FORMAT:
        raise UserError(
            f"{folder}: a run of format {number}, and this xmodal reads up to {FORMAT}; update it: "
            "pip install --upgrade xmodal"
        )
    fill_in(found)
    return found


def is_run(folder: Path) -> bool:
    """Is this a run folder: does it hold a run's config.yaml, and not some other program's?"""
    try:
        found = read_yaml((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    return isinstance(found, dict) and {"output", "data", "towers"} <= found.keys()


def has_weights(folder: Path) -> bool:
    """Has a run folder anything that was trained?"""
    return (folder / FILE).exists() or newest_checkpoint(folder) is not None


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint of a run."""
    found = [p for p in (folder / "checkpoints").glob("step-*") if p.suffix != ".tmp"]
    return max(found, key=lambda p: p.name, default=None)


def kept_weights(folder: Path) -> dict[str, Tensor]:
    """The weights a run offers: model.safetensors, else those of the newest checkpoint.

    Raises:
        UserError: the folder holds no run, or no weights yet.
    """
    if not (folder / "config.yaml").exists():
        raise UserError(f"{folder}: not a run folder (no config.yaml); give the folder named by `output`")
    if (folder / FILE).exists():
        return load_tensors(folder / FILE)
    newest = newest_checkpoint(folder)
    if newest is None:
        raise UserError(f"{folder}: no weights yet; training stopped before its first checkpoint (train.save_every)")
    return load_tensors(newest / FILE)
