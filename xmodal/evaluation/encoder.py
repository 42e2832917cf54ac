"""A trained run behind one method: `encode(modality, items)`.

Enters: texts, audio paths or waveforms. Leaves: unit-norm embeddings, float32, on the CPU. Everything an evaluator
knows of a model goes through here.
"""

import contextlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from xmodal.aligner import Aligner, build_aligner
from xmodal.checkpoint import kept_weights, load_trained_state, newest_checkpoint
from xmodal.config.load import load_config
from xmodal.config.schema import RunConfig
from xmodal.config.towers import StoreTower
from xmodal.data.audio import AudioError, as_waveform, read_audio
from xmodal.embedding import embed
from xmodal.errors import UserError
from xmodal.store import content_id
from xmodal.towers import build_tower, local_spec
from xmodal.towers.from_store import StoreProcessor
from xmodal.towers.tower import Processor, Tower

Item = str | Path | np.ndarray | Tensor

DECODED = 512  # recordings held in memory at a time; each chunk is sorted by length


class Encoder:
    """Towers of a run, ready to encode.

    Args:
        towers: modality -> tower; a modality trained from a store has its live tower here.
        processors: modality -> what prepares its items.
        stores: modality -> processor of the store its tower was trained from; texts found there are not encoded again.
        name: how reports call it.
        provenance: what a report records of it.

    Example:
        encoder = xmodal.load("runs/demo")
        z = encoder.encode("text", ["turn on the lights"])  # [1, D]
    """

    def __init__(
        self,
        towers: Mapping[str, Tower],
        processors: Mapping[str, Processor],
        stores: Mapping[str, StoreProcessor] | None = None,
        name: str = "",
        provenance: dict[str, Any] | None = None,
    ) -> None:
        self.towers = dict(towers)
        self.processors = dict(processors)
        self.stores = dict(stores or {})
        self.name = name
        self.provenance = dict(provenance or {})

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities it encodes."""
        return tuple(self.towers)

    def is_fixed(self, modality: str) -> bool:
        """Do the embeddings of this modality never change: a locked tower without a head?"""
        return modality in self.towers and self.towers[modality].guides

    def encode(
        self, modality: str, items: Sequence[Item], sample_rate: int | None = None, batch_size: int = 64
    ) -> Tensor:
        """Unit-norm embeddings [N, D] of texts, or of audio paths or arrays (which need their `sample_rate`, Hz).

        Raises:
            UserError: no such modality, or an item that cannot be read.
        """
        z, _, skipped = self.encode_readable(modality, items, sample_rate, batch_size)
        if skipped:
            raise UserError(f"{modality}: {skipped[0][1]}" + (f" (and {len(skipped) - 1} more)" if skipped[1:] else ""))
        return z

    def encode_readable(
        self,
        modality: str,
        items: Sequence[Item],
        sample_rate: int | None = None,
        batch_size: int = 64,
        progress: str | None = None,
    ) -> tuple[Tensor, list[int], list[tuple[int, str]]]:
        """As `encode`, leaving out what cannot be read: (z [M, D], positions kept [M], (position, reason) skipped)."""
        if modality not in self.towers:
            raise UserError(f"modality {modality!r}: this run encodes {', '.join(self.towers)}")
        if isinstance(items, str | Path | np.ndarray | Tensor) and (isinstance(items, str | Path) or items.ndim < 2):
            raise UserError(f"{modality}: expected a list of items, found one {type(items).__name__}")
        if self.processors[modality].kind == "text":
            for item in items:
                if not isinstance(item, str):
                    raise UserError(f"{modality}: expected texts, found {type(item).__name__}")
            return self._encode_texts(modality, list(map(str, items)), batch_size, progress), [*range(len(items))], []
        rate = self.processors[modality].sample_rate
        assert rate is not None
        parts, kept, skipped = [torch.empty(0, self.towers[modality].dim)], [], []
        bar = tqdm(total=len(items), desc=progress, unit="items", delay=2, disable=progress is None)
        for start in range(0, len(items), DECODED):
            waves = []
            for position, item in enumerate(items[start : start + DECODED], start):
                try:
                    waves.append(_waveform(item, sample_rate, rate))
                    kept.append(position)
                except AudioError as error:
                    skipped.append((position, str(error)))
            parts.append(self._embed(modality, waves, batch_size, None))
            bar.update(len(items[start : start + DECODED]))
        bar.close()
        return torch.cat(parts), kept, skipped

    def _encode_texts(self, modality: str, texts: list[str], batch_size: int, progress: str | None) -> Tensor:
        store = self.stores.get(modality)
        if store is None:
            return self._embed(modality, texts, batch_size, progress)
        tower = self.towers[modality]
        ids = np.array([content_id(t) for t in texts], dtype=np.int64)
        known = store.store.contains(ids)
        z = torch.empty(len(texts), tower.dim)
        if known.any():
            rows = store.collate(list(ids[known]))["rows"].to(self._device(modality))
            with torch.inference_mode():
                z[torch.from_numpy(known)] = tower.project(rows).z.float().cpu()
        if not known.all():
            fresh = [t for t, k in zip(texts, known, strict=True) if not k]
            z[torch.from_numpy(~known)] = self._embed(modality, fresh, batch_size, progress)
        return z

    def _embed(self, modality: str, items: Sequence[Any], batch_size: int, progress: str | None) -> Tensor:
        tower = self.towers[modality]
        if not items:
            return torch.empty(0, tower.dim)
        return embed(
            tower,
            self.processors[modality],
            items,
            batch_size=batch_size,
            device=self._device(modality),
            what="z",
            progress=progress,
        )

    def _device(self, modality: str) -> torch.device:
        return next(self.towers[modality].parameters()).device


def _waveform(item: Item, sample_rate: int | None, rate: int) -> np.ndarray:
    if isinstance(item, str | Path):
        return read_audio(Path(item), rate)
    if sample_rate is None:
        raise UserError("arrays of audio need their sample rate: encode(modality, arrays, sample_rate=16000)")
    return as_waveform(np.asarray(item), sample_rate, rate)


def load(folder: str | Path, device: torch.device | str | None = None, trust_remote_code: bool = False) -> Encoder:
    """The encoder of a run folder: kept weights (best, else newest), complete, without the network.

    Args:
        folder: what the config's `output` named.
        device: default: CUDA where there is one, else the CPU.
        trust_remote_code: run model code that came with the folder (a run trained with such code needs it).

    Raises:
        UserError: not a run folder, no weights yet, or damaged ones.
    """
    folder = Path(folder)
    weights = kept_weights(folder)
    config = load_config(folder / "config.yaml")
    aligner, processors = build_aligner(config, folder, trust_remote_code)
    load_trained_state(aligner, weights, str(folder))
    aligner.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    return Encoder(_towers(aligner), processors, name=str(folder), provenance=provenance(config) | _facts(folder))


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


def during_training(
    config: RunConfig, aligner: Aligner, processors: Mapping[str, Processor], named: Collection[str] = ()
) -> Encoder:
    """An encoder over the towers as they train: the same modules, live towers in place of stores, heads shared.

    A text found in a store is not encoded again, except in modalities `named`: there the store's ids are not those of
    the texts' content.
    """
    towers, live_processors, stores = _towers(aligner), dict(processors), {}
    for modality, spec in config.towers.items():
        processor = processors[modality]
        if isinstance(spec, StoreTower) and isinstance(processor, StoreProcessor):
            live, live_processors[modality] = build_tower(
                local_spec(spec, config.output / "towers" / modality), towers[modality].dim
            )
            live.head = towers[modality].head
            live.to(next(aligner.parameters()).device)
            towers[modality] = live
            if modality not in named:
                stores[modality] = processor
    return Encoder(towers, live_processors, stores, name=str(config.output), provenance=provenance(config))


def _towers(aligner: Aligner) -> dict[str, Tower]:
    return {name: aligner.tower(name) for name in aligner.towers}


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
