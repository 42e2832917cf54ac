"""From a run folder, a run in training, or a dual encoder's name to an `Encoder`."""

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from xmodal.aligner.aligner import Aligner
from xmodal.aligner.build import build_towers
from xmodal.config.data import MODALITY_OF_KIND, STANDARD_MODALITIES, ImageModality
from xmodal.config.error_lines import error_lines
from xmodal.config.kinds import HEADS, TOWERS
from xmodal.config.schema import RunConfig
from xmodal.config.terms.terms import groups_of
from xmodal.config.tower import AnyTower
from xmodal.encoding.encoder import Encoder
from xmodal.encoding.kept_features import feature_caches
from xmodal.errors import UserError
from xmodal.hub.names import HUB, hub_name
from xmodal.processor import Processor
from xmodal.runs.folder import kept_weights, newest_checkpoint, read_run
from xmodal.runs.weights import load_towers
from xmodal.towers import build_tower, local_spec, runs_code, without_code
from xmodal.towers.kinds.store import StoreProcessor
from xmodal.towers.tower import Tower

LABELS = "labels.json"  # in a run folder: the labels of its training pairs
DUAL_ENCODERS = ("open_clip:", "transformers:")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load(
    model: str | Path,
    device: torch.device | str | None = None,
    trust_remote_code: bool = False,
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32",
    revision: str | None = None,
) -> Encoder:
    """The encoder of a run folder (kept weights: best, else newest; without the network), or of a model by name.

    Args:
        model: what the config's `output` named; `hf-hub:OWNER/NAME[@REVISION]`, a run on the hub, out of its cache
            where there is no network; or `open_clip:NAME[@PRETRAINED]`, `transformers:NAME_OR_FOLDER`.
        device: default: CUDA where there is one, else the CPU.
        trust_remote_code: run model code that came with the folder (a run trained with such code needs it).
        dtype: what the towers run in; half precision pays on a GPU.
        revision: of a run on the hub: a branch, a tag or a commit.

    Raises:
        UserError: neither a run folder nor such a model, no weights yet, or damaged ones.
    """
    if dtype not in DTYPES:
        raise UserError(f"dtype {dtype!r}: expected one of {', '.join(DTYPES)}")
    if torch.device(device or "cpu").type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device {device}: torch finds no GPU here; leave device out")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if str(model).startswith(DUAL_ENCODERS):
        from xmodal.towers.kinds.dual_encoder import dual_encoder_specs  # late: open_clip takes seconds to import

        towers, processors, specs = {}, {}, {}
        for modality, spec in dual_encoder_specs(str(model)).items():
            towers[modality], processors[modality] = build_tower(spec)
            towers[modality].to(place).eval()
            specs[modality] = spec.model_dump(mode="json")
        facts = {"model": str(model), "towers": specs}
        return Encoder(towers, processors, name=str(model), provenance=facts, dtype=DTYPES[dtype])
    folder, of_hub = Path(model), {}
    if str(model).startswith(HUB):
        from xmodal.hub.fetch import commit_of, fetch_run

        named = hub_name(str(model), revision)
        folder = fetch_run(named, trust_remote_code)
        of_hub = {"run": f"{HUB}{named.repository}", "revision": commit_of(folder)}
    elif revision is not None:
        raise UserError(f"revision {revision!r} is of a model on the hub, and {model} is none; leave it out")
    found = read_run(folder)
    weights = kept_weights(folder)
    _require_own(folder, found, trust_remote_code)
    local: dict[str, Any] = {
        side: _local(spec, folder / "towers" / side, trust_remote_code) for side, spec in _specs(folder, found)
    }
    towers, processors = build_towers(local, groups_of(found, local))
    load_towers(towers, weights, str(folder))
    for tower in towers.values():
        tower.to(place).eval()
    facts = provenance(found) | {"run": str(folder)} | of_hub | _facts(folder)
    labels = _trained_labels(folder)
    encoder = Encoder(towers, processors, None, str(model), facts, DTYPES[dtype], _max_pixels(found), labels)
    encoder.folder = folder
    return encoder


class _Saved(BaseModel):
    """What an encoder needs of a run's config; whatever else stands in it is for training."""

    model_config = ConfigDict(extra="ignore")
    towers: dict[str, AnyTower]


def _require_own(folder: Path, found: dict[str, Any], trust_remote_code: bool) -> None:
    """Raise `UserError` where towers or heads are of code from outside xmodal; nothing of it is imported."""
    for side, place, is_here in _outside(found["towers"]):
        if not (trust_remote_code and is_here):
            raise UserError(
                f"{folder}: its {side} tower needs code from outside xmodal ({place}); where you trust it, install "
                "its package and load with trust_remote_code=True (--trust-remote-code)"
            )


def _outside(towers: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Towers and heads of code from outside xmodal: side, `module:attribute`, is it installed? Nothing is imported."""
    for side, tower in towers.items():
        parts = [(TOWERS, tower)] if isinstance(tower, dict) else []
        while parts:
            registry, part = parts.pop()
            kind = part.get("kind")
            try:
                if isinstance(kind, str) and not registry.is_own(kind):
                    yield side, registry.place(kind), True
            except UserError:  # a name that some package added where it was trained
                yield side, str(kind), False
            below = {"head": HEADS, "tower": TOWERS}
            parts += [(below[name], value) for name, value in part.items() if name in below and isinstance(value, dict)]


def names_outside_code(config: RunConfig) -> bool:
    """Does a config ask for towers or heads of code from outside xmodal, or for code that comes with model files?"""
    asked = config.model_dump(mode="json")["towers"]
    return any(_outside(asked)) or any(runs_code(spec) for spec in config.towers.values())


def _specs(folder: Path, found: dict[str, Any]) -> list[tuple[str, Any]]:
    try:
        return list(_Saved.model_validate(found).towers.items())
    except ValidationError as error:
        path = str(folder / "config.yaml")
        raise UserError("\n".join(error_lines(error, found, lambda _: path, _Saved))) from None


def _local(spec: Any, folder: Path, trust_remote_code: bool) -> Any:
    """The spec of the tower as the run folder holds it; code that came with it runs only where that is allowed."""
    local = local_spec(spec, folder)
    return local if trust_remote_code else without_code(local)


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
    towers, live_processors = _towers(aligner), dict(processors)
    stores: dict[str, StoreProcessor] = {}
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
    plain = config.model_dump(mode="json")
    facts, pixels = provenance(plain), _max_pixels(plain)
    encoder = Encoder(towers, live_processors, stores, str(config.output), facts, torch.float32, pixels, labels)
    encoder.feature_caches = feature_caches(plain["towers"])
    return encoder


def _towers(aligner: Aligner) -> dict[str, Tower]:
    return {name: aligner.tower(name) for name in aligner.towers}


def _max_pixels(config: Mapping[str, Any]) -> dict[str, int]:
    """The largest image that is decoded, by side, of a config as plain values."""
    found = {}
    modalities = (config.get("data") or {}).get("modalities") or {}
    for side in config["towers"]:
        given = modalities.get(side) or {}
        kind = MODALITY_OF_KIND.get(given.get("kind", "")) or STANDARD_MODALITIES.get(side)
        if kind is ImageModality:
            found[side] = int(given.get("max_pixels", ImageModality().max_pixels))
    return found


def provenance(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a report says of the model behind its numbers; `config` as plain values, of any format."""
    train, data = config.get("train") or {}, config.get("data") or {}
    return {
        "run": str(config.get("output", "")),
        "seed": config.get("seed", 0),
        "objective": config.get("objective") or {},
        "steps": train.get("steps"),
        "batch_size": train.get("batch_size"),
        **({"batch_seconds": train["batch_seconds"]} if train.get("batch_seconds") else {}),
        "towers": dict(config["towers"]),
        "train_data": str(data.get("train", "")),
    }
