"""What a locked backbone says of the files of a test, kept beside the store it was trained from.

Runs over one store (a sweep, a comparison of objectives, a run that is judged while it trains) have one backbone and
different heads. So the backbone sees each file of a test once, whatever the number of runs, and the heads alone run.

Axes: m items, T steps of one, G features of a step, D embedding.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xmodal.data.reading import ItemReader
from xmodal.encoding.cutting import Cut
from xmodal.encoding.embedding import Item, encode_batch, evaluating, longest_first, read_batches, within_memory
from xmodal.encoding.embedding_cache import Embedded, Made, RowCache
from xmodal.encoding.media import DECODED, read_media
from xmodal.processor import Processor
from xmodal.towers.frames import Frames, padded
from xmodal.towers.sequence_heads import SequenceHead
from xmodal.towers.tower import Tower

FOLDER = "tests"  # in a store's folder


def feature_caches(towers: Mapping[str, Any]) -> dict[str, RowCache]:
    """Side -> where the features of its files stay, of the sides that a run reads from a store that is there.

    Args:
        towers: side -> what the run's config says of its tower, as JSON.
    """
    found = {}
    for side, spec in towers.items():
        if isinstance(spec, Mapping) and spec.get("kind") == "store" and (Path(spec["path"]) / "store.json").is_file():
            found[side] = RowCache(Path(spec["path"]) / FOLDER)
    return found


def features_maker(tower: Tower, processor: Processor) -> str:
    """What tells features apart: a digest of all that decides them."""
    digest = hashlib.sha256(tower.fingerprint().encode())
    parts = [processor.describe(), isinstance(tower.head, SequenceHead)]
    digest.update(json.dumps(parts, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:32]


def embed_through_features(
    tower: Tower,
    processor: Processor,
    reader: ItemReader,
    items: Sequence[Any],
    cache: RowCache,
    maker: str,
    device: torch.device,
    size: int,
    cut: Cut,
    bar: Any,
) -> tuple[Embedded, int]:
    """Embeddings of audio or images by a tower whose backbone is locked; its features are those that are kept.

    Numbers are those of the tower itself, but for the last bits that depend on who is in a batch with whom.

    Args:
        tower, processor: of the side.
        reader: decodes the items.
        items: files, addresses in tars, or files' bytes.
        cache: of the store.
        maker: `features_maker` of the two.
        device: where the tower is.
        size: items at a time, halved where memory runs out.
        cut: gets the items that the tower does not see whole.
        bar: a progress bar.

    Returns:
        (embeddings, positions kept, (position, reason) skipped), and the items at a time that went.
    """
    width = tower.width
    if isinstance(tower.head, SequenceHead):
        width = int(getattr(tower.backbone, "step_width", 0) or tower.backbone.width)  # type: ignore[arg-type]

    def make(part: Sequence[Any]) -> Made:
        nonlocal size
        rows, kept, skipped = list[Tensor](), list[int](), list[tuple[int, str]]()
        for read in read_media(reader, part):
            fresh, size = within_memory(size, partial(_features, tower, processor, read.items, device))
            rows += fresh
            kept += read.positions
            skipped += read.skipped
            cut.extend(read.cut)
            bar.update(read.size)
        return rows, kept, skipped

    parts, kept, skipped = [torch.empty(0, tower.dim)], list[int](), list[tuple[int, str]]()
    for start in range(0, len(items), DECODED):
        rows, positions, bad = cache.complete(maker, items[start : start + DECODED], width, make, cut)
        z, size = within_memory(size, partial(_embeddings, tower, rows, device))
        parts.append(z)
        kept += [start + at for at in positions]
        skipped += [(start + at, reason) for at, reason in bad]
    return (torch.cat(parts), kept, skipped), size


def _features(
    tower: Tower, processor: Processor, items: Sequence[Item], device: torch.device, size: int
) -> list[Tensor]:
    """Of each item its steps [T, G], or its pooled features [1, G]; float32, on the CPU."""
    rows: list[Tensor] = [torch.empty(0)] * len(items)
    for positions, features in read_batches(tower, processor, items, size):
        if isinstance(tower.head, SequenceHead):
            with torch.no_grad():
                inputs = {name: value.to(device) for name, value in processor.collate(features).items()}
                made = [steps.float().cpu() for steps in tower.sequence(inputs).each()]
        else:
            made = list(encode_batch(tower, processor, features, device, "features").unsqueeze(1))
        for at, row in zip(positions.tolist(), made, strict=True):
            rows[at] = row
    return rows


@torch.no_grad()
def _embeddings(tower: Tower, rows: Sequence[Tensor], device: torch.device, size: int) -> Tensor:
    """[m, D], unit norm, float32, on the CPU: the head alone."""
    z = torch.empty(len(rows), tower.dim)
    order = longest_first([len(row) for row in rows])
    with evaluating(tower):
        for start in range(0, len(rows), size):
            at = order[start : start + size]
            some = [rows[i] for i in at]
            if isinstance(tower.head, SequenceHead):
                values, lengths = padded([row.numpy() for row in some])
                features = tower.head.pool(Frames(values.to(device), lengths.to(device)))
            else:
                features = torch.cat(some).to(device)
            z[at] = tower.project(features).z.float().cpu()
    return z
