"""From a run folder, a run in training, or a dual encoder's name to an `Encoder`."""

import contextlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from xmodal.aligner.aligner import Aligner, build_aligner
from xmodal.config.data import ImageModality
from xmodal.config.load import load_config
from xmodal.config.schema import RunConfig
from xmodal.encoding.encoder import Encoder
from xmodal.errors import UserError
from xmodal.processor import Processor
from xmodal.runs.checkpoint import kept_weights, load_trained_state, newest_checkpoint
from xmodal.towers import build_tower, local_spec
from xmodal.towers.from_store import StoreProcessor
from xmodal.towers.tower import Tower

LABELS = "labels.json"  # in a run folder: the labels of its training pairs
DUAL_ENCODERS = ("open_clip:", "transformers:")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load(
    model: str | Path,
    device: torch.device | str | None = None,
    trust_remote_code: bool = False,
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32",
) -> Encoder:
    """The encoder of a run folder (kept weights: best, else newest; without the network), or of a dual encoder.

    Args:
        model: what the config's `output` named; or `open_clip:NAME[@PRETRAINED]`, `transformers:NAME_OR_FOLDER`.
        device: default: CUDA where there is one, else the CPU.
        trust_remote_code: run model code that came with the folder (a run trained with such code needs it).
        dtype: what the towers run in; half precision pays on a GPU.

    Raises:
        UserError: neither a run folder nor such a model, no weights yet, or damaged ones.
    """
    if dtype not in DTYPES:
        raise UserError(f"dtype {dtype!r}: expected one of {', '.join(DTYPES)}")
    if torch.device(device or "cpu").type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device {device}: torch finds no GPU here; leave device out")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if str(model).startswith(DUAL_ENCODERS):
        from xmodal.towers.dual_encoder import dual_encoder_specs  # late: open_clip takes seconds to import

        towers, processors, specs = {}, {}, {}
        for modality, spec in dual_encoder_specs(str(model)).items():
            towers[modality], processors[modality] = build_tower(spec)
            towers[modality].to(place).eval()
            specs[modality] = spec.model_dump(mode="json")
        facts = {"model": str(model), "towers": specs}
        return Encoder(towers, processors, name=str(model), provenance=facts, dtype=DTYPES[dtype])
    folder = Path(model)
    weights = kept_weights(folder)
    config = load_config(folder / "config.yaml")
    aligner, processors = build_aligner(config, folder, trust_remote_code)
    load_trained_state(aligner, weights, str(folder))
    aligner.to(place).eval()
    facts = provenance(config) | _facts(folder)
    pixels = _max_pixels(config)
    labels = _trained_labels(folder)
    return Encoder(_towers(aligner), processors, None, str(folder), facts, DTYPES[dtype], pixels, labels)


def _facts(folder: Path) -> dict[str, Any]:
    """What training noted for reports; of a run that has not ended, the step of its weights."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((folder / "training.json").read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return {"finished": True, **found}
    with contextlib.suppress(OSError, ValueError):
        newest = newest_checkpoint(folder)
        state = json.loads((newest / "state.json").read_text(encoding="utf-8")) if newest else {}
        return {"finished": False, "weights_from_step": state.get("best_step") or state.get("step")}
    return {"finished": False}


def _trained_labels(folder: Path) -> list[str]:
    """The labels that a run wrote down, `LABELS`; none of a run that had none."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((folder / LABELS).read_text(encoding="utf-8"))
        return [label for label in found if isinstance(label, str)] if isinstance(found, list) else []
    return []


def during_training(
    config: RunConfig,
    aligner: Aligner,
    processors: Mapping[str, Processor],
    named: Collection[str] = (),
    labels: Collection[str] = (),
) -> Encoder:
    """An encoder over the towers as they train: the same modules, live towers in place of stores, heads shared.

    A text found in a store is not encoded again, except in modalities `named`: there the store's ids are not those of
    the texts' content. `labels` are those of the training pairs.
    """
    towers, live_processors, stores = _towers(aligner), dict(processors), {}
    for modality, spec in config.towers.items():
        processor = processors[modality]
        if spec.is_stored and isinstance(processor, StoreProcessor):
            live, live_processors[modality] = build_tower(
                local_spec(spec, config.output / "towers" / modality), towers[modality].dim
            )
            live.head = towers[modality].head
            live.to(next(aligner.parameters()).device)
            towers[modality] = live
            if modality not in named:
                stores[modality] = processor
    facts, pixels = provenance(config), _max_pixels(config)
    return Encoder(towers, live_processors, stores, str(config.output), facts, torch.float32, pixels, labels)


def _towers(aligner: Aligner) -> dict[str, Tower]:
    return {name: aligner.tower(name) for name in aligner.towers}


def _max_pixels(config: RunConfig) -> dict[str, int]:
    specs = {name: config.modality(name) for name in config.towers}
    return {name: spec.max_pixels for name, spec in specs.items() if isinstance(spec, ImageModality)}


def provenance(config: RunConfig) -> dict[str, Any]:
    """What a report says of the model behind its numbers."""
    return {
        "run": str(config.output),
        "seed": config.seed,
        "objective": config.objective.model_dump(mode="json"),
        "steps": config.train.steps,
        "batch_size": config.train.batch_size,
        "towers": {name: spec.model_dump(mode="json") for name, spec in config.towers.items()},
        "train_data": str(config.data.train),
    }
