"""Towers and objective in ONE module, so that DDP wraps (and averages gradients) once.

Enters: this process's `PairBatch`. Leaves: a `Loss` whose gradient, averaged over processes, is that of the whole
batch. Large batches need no other path: towers are encoded in chunks that are encoded again in the backward pass
(`chunked.py`), so of the batch only inputs and embeddings are kept, and neither value nor gradient changes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from xmodal.aligner.chunked import encode_in_chunks
from xmodal.batch import Embeddings, Loss, PairBatch
from xmodal.config.schema import RunConfig
from xmodal.config.tower import TowerSpec
from xmodal.distributed import all_gather_rows, gather, own_rows, row_counts
from xmodal.errors import UserError
from xmodal.objectives import KeyBank, build_objective
from xmodal.processor import Processor
from xmodal.towers import build_tower, local_spec, without_code
from xmodal.towers.from_store import StoreProcessor
from xmodal.towers.tower import Tower


class Aligner(nn.Module):
    """Encode every modality, gather over processes, and sum the objective over the pairs.

    Args:
        towers: modality -> tower.
        objective: called as `objective(embeddings, trainable, guide)`, returns a `Loss`.
        pairs: (trainable, guide) modalities.
        chunk: items encoded at a time; None encodes the batch at once.

    Raises:
        UserError: chunking with BatchNorm in a tower that trains (its statistics would be the chunk's).
    """

    def __init__(
        self,
        towers: Mapping[str, Tower],
        objective: nn.Module,
        pairs: Sequence[tuple[str, str]],
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        self.towers = nn.ModuleDict(towers)
        self.objective = objective
        self.pairs = tuple(pairs)
        self.chunk = chunk
        if chunk is not None:
            for name, tower in towers.items():
                trained = tower.head if tower.locked or tower.adapted else tower
                if any(isinstance(m, _BatchNorm) for m in trained.modules()):
                    raise UserError(
                        f"train.chunk: the {name} tower trains BatchNorm, whose statistics would be those of a chunk, "
                        "not of the batch; lock the tower, choose one with LayerNorm, or leave train.chunk out"
                    )

    def tower(self, modality: str) -> Tower:
        """The tower of a modality."""
        tower = self.towers[modality]
        assert isinstance(tower, Tower)
        return tower

    def encode(self, modality: str, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(z [B, D], guide [B, G]) of one modality, in chunks where asked for."""
        tower = self.tower(modality)
        size = len(next(iter(inputs.values())))
        if size == 0:  # every item of this process was unreadable: its gradients are zeros, not missing
            zero = sum((p.sum() * 0 for p in tower.parameters() if p.requires_grad), start=torch.zeros(()))
            empty = next(iter(tower.parameters()), next(iter(inputs.values()))).new_zeros
            return empty((0, tower.dim)) + zero, empty((0, tower.width))
        if self.chunk is None or size <= self.chunk:
            out = tower(inputs)
            return out.z, out.guide

        def encode_rows(rows: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            out = tower(rows)
            return out.z, out.guide

        chunks = [{k: v[at : at + self.chunk] for k, v in inputs.items()} for at in range(0, size, self.chunk)]
        trained = [p for p in tower.parameters() if p.requires_grad]
        if trained and torch.is_grad_enabled():
            return encode_in_chunks(encode_rows, chunks, trained)
        z, guide = zip(*map(encode_rows, chunks), strict=True)
        return torch.cat(z), torch.cat(guide)

    def embeddings(self, batch: PairBatch) -> Embeddings:
        """The gathered batch as objectives see it. Every process must call it at the same step."""
        counts = row_counts(batch.ids)
        guiding = {guide for _, guide in self.pairs}
        z, guides = {}, {}
        for modality, inputs in batch.inputs.items():
            own_z, own_guide = self.encode(modality, inputs)
            tower = self.tower(modality)
            z[modality] = (all_gather_rows if tower.guides else gather)(own_z, counts)
            if modality in guiding:
                same = tower.guides  # locked and without a head: the embedding IS the guide
                guides[modality] = z[modality] if same else all_gather_rows(own_guide, counts)
        return Embeddings(
            z=z,
            guide=guides,
            ids=all_gather_rows(batch.ids, counts),
            item_ids={m: all_gather_rows(v, counts) for m, v in batch.item_ids.items()},
            local=own_rows(counts),
            labels=all_gather_rows(batch.labels, counts),
        )

    def forward(self, batch: PairBatch) -> Loss:
        """The loss of the whole batch; logits and weights are computed in fp32 whatever the towers ran in."""
        embeddings = self.embeddings(batch)
        with torch.autocast(batch.ids.device.type, enabled=False):
            losses = {pair: self.objective(embeddings, *pair) for pair in self.pairs}
        if len(losses) == 1:
            return next(iter(losses.values()))
        value = torch.stack([loss.value for loss in losses.values()]).sum()
        parts = {f"{a}-{k}/{name}": part for (a, k), loss in losses.items() for name, part in loss.parts.items()}
        parts["loss"] = torch.stack([loss.parts["loss"] for loss in losses.values()]).sum()
        return Loss(value, parts)


def build_aligner(
    config: RunConfig, run: Path | None = None, trust_remote_code: bool = False
) -> tuple[Aligner, dict[str, Processor]]:
    """Towers, objective and processors of a config.

    A head whose `dim` is left out gets the width of the tower it is paired with. With `run`, the towers are those
    saved in that run folder, and a tower read from a store during training is the live one; code that came with the
    folder runs only if `trust_remote_code` says so here, whatever its config says.
    """
    specs: dict[str, TowerSpec] = dict(config.towers)
    if run is not None:
        specs = {m: local_spec(spec, run / "towers" / m) for m, spec in config.towers.items()}
        if not trust_remote_code:
            specs = {m: without_code(spec) for m, spec in specs.items()}
    towers: dict[str, Tower] = {}
    processors: dict[str, Processor] = {}
    pairs = config.tower_pairs()
    for guide in dict.fromkeys(guide for _, guide in pairs):
        towers[guide], processors[guide] = build_tower(specs[guide])
    for trainable, guide in pairs:
        if trainable not in towers:
            towers[trainable], processors[trainable] = build_tower(specs[trainable], out_dim=towers[guide].dim)
        if towers[trainable].dim != towers[guide].dim:
            raise UserError(
                f"towers.{trainable}.head: embeddings of {towers[trainable].dim} numbers cannot be compared with "
                f"{guide}'s {towers[guide].dim}; give it a head, with dim {towers[guide].dim} or without dim"
            )
    for name in specs:
        if name not in towers:
            raise UserError(f"towers.{name}: is in no pair; name it in pairs or take it out")
    ordered = {name: towers[name] for name in specs}
    stores = {name: p.store for name, p in processors.items() if isinstance(p, StoreProcessor)}
    banks = {name: KeyBank(store.all_rows(), store.ids) for name, store in stores.items()}
    return Aligner(ordered, build_objective(config.objective, banks), pairs, config.train.chunk), processors
