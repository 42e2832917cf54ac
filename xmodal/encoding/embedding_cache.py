"""Embeddings of files, kept beside a run, and features, kept beside a store: what is there is not made again.

Input: items and what was made of them. Output: `FOLDER/MAKER/*.safetensors`, where MAKER stands for the model, its
preprocessing and its precision. An item is known by its path, size and time of change, or by its bytes; it is found
again whatever the other items of a test are. What could not be read is not kept; what a tower did not see whole is kept
with the reason, so that it is told the next time too.

Axes: n items, m of them found or readable, T rows of one, W numbers in a row, D embedding.
"""

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from xmodal.data.sources.tar_address import file_of
from xmodal.encoding.cutting import Cut
from xmodal.files import written_whole

Embedded = tuple[Tensor, list[int], list[tuple[int, str]]]  # z [m, D], positions kept [m], (position, reason) skipped
Made = tuple[list[Tensor], list[int], list[tuple[int, str]]]  # rows [T, W] of each [m], and the same
Keys = NDArray[np.int64]

log = logging.getLogger(__name__)

PART = 4_096  # items of a file: what a killed evaluation has embedded is there for the next


def item_keys(items: Sequence[Any]) -> Keys | None:
    """A key for each item [n]; None where one is neither a file nor bytes.

    Example:
        item_keys([Path("a.jpg"), b"..."])
    """
    states: dict[str, str] = {}  # of files; a tar holds thousands of items
    keys = np.empty(len(items), dtype=np.int64)
    for at, item in enumerate(items):
        if isinstance(item, bytes):
            content = item
        elif isinstance(item, str | Path):
            file = file_of(str(item))
            if file not in states:
                states[file] = _state(file)
            content = f"{os.path.abspath(item)}\0{states[file]}".encode("utf-8", "surrogatepass")  # noqa: PTH100
        else:
            return None
        keys[at] = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little", signed=True)
    return keys


def digest_of(*parts: Any) -> str:
    """One digest of items (sequences of paths, places, bytes, texts) and of whatever else JSON can hold."""
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        keys = item_keys(part) if isinstance(part, Sequence) and not isinstance(part, str) else None
        found.update(json.dumps(part, sort_keys=True, default=str).encode() if keys is None else keys.tobytes())
    return found.hexdigest()


class RowCache:
    """A folder of what a tower made of files: for each item rows [T, W], one or many. Several processes may fill it.

    Example:
        cache = RowCache(Path("data/esc10/frames/tests"))
        rows, kept, skipped = cache.complete(maker, files, 384, make, cut=[])
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def complete(
        self, maker: str, items: Sequence[Any], width: int, make: Callable[[Sequence[Any]], Made], cut: Cut
    ) -> Made:
        """The rows of all items: those that are there, and those that `make` gives, which are kept.

        `make` adds to `cut` the items that its tower does not see whole; those found here are added too.

        Items that are neither files nor bytes are made and not kept.
        """
        keys = item_keys(items)
        if keys is None:
            return make(items)
        found, reasons = self._find(maker, keys, width)
        if reasons:
            names = [str(key) for key in keys]
            cut += [(items[at], reasons[name]) for at, name in enumerate(names) if at in found and name in reasons]
        new, skipped = [at for at in range(len(items)) if at not in found], list[tuple[int, str]]()
        for start in range(0, len(new), PART):
            part = new[start : start + PART]
            told = len(cut)
            fresh, kept, bad = make([items[at] for at in part])
            rows = [part[at] for at in kept]
            if rows:
                self._add(maker, keys[rows], fresh, cut[told:])
            found |= dict(zip(rows, fresh, strict=True))
            skipped += [(part[at], reason) for at, reason in bad]
        positions = sorted(found)
        return [found[at] for at in positions], positions, skipped

    def _find(self, maker: str, keys: Keys, width: int) -> tuple[dict[int, Tensor], dict[str, str]]:
        """Position -> rows of items that are there, and key -> why an item is cut. Damaged files are passed over."""
        found, reasons = dict[int, Tensor](), dict[str, str]()
        known = np.zeros(len(keys), dtype=bool)
        for file in sorted((self.folder / maker).glob("*.safetensors")):
            try:
                with safe_open(file, "pt") as opened:
                    there, lengths = opened.get_tensor("keys").numpy(), opened.get_tensor("lengths").numpy()
                    held = opened.get_slice("rows")
                    if held.get_shape() != [int(lengths.sum()), width] or there.shape != lengths.shape:
                        continue
                    order = np.argsort(there)
                    at = order[np.searchsorted(there, keys, sorter=order).clip(max=len(there) - 1)]
                    new = np.flatnonzero((there[at] == keys) & ~known)
                    if not len(new):
                        continue
                    ends = np.cumsum(lengths)
                    mine = {int(n): held[int(ends[at[n]] - lengths[at[n]]) : int(ends[at[n]])] for n in new}
                    if not all(rows.dtype == torch.float32 and bool(rows.isfinite().all()) for rows in mine.values()):
                        continue
                    found |= mine
                    known[new] = True
                    reasons |= json.loads((opened.metadata() or {}).get("cut", "{}"))
            except (OSError, SafetensorError, IndexError, ValueError):
                continue
        return found, reasons

    def _add(self, maker: str, keys: Keys, rows: Sequence[Tensor], cut: Cut) -> None:
        """Keep the rows of some items; where they cannot be written, say so and go on."""
        named = item_keys([item for item, _ in cut])
        reasons = {str(key): reason for key, (_, reason) in zip(named, cut, strict=True)} if named is not None else {}
        tensors = {"keys": torch.from_numpy(keys), "lengths": torch.tensor([len(each) for each in rows])}
        tensors["rows"] = torch.cat(list(rows)).contiguous()
        try:
            with written_whole(self.folder / maker / f"{uuid.uuid4().hex}.safetensors") as beside:
                save_file(tensors, beside, {"cut": json.dumps(reasons)})
        except OSError as error:
            log.warning("%s: embeddings are not kept (%s); give another folder", self.folder, error.strerror or error)


class EmbeddingCache(RowCache):
    """The same of embeddings, one row of D numbers an item.

    Example:
        encoder.cache = EmbeddingCache(Path("runs/cifar10_cl/embeddings"))
        encoder.encode("image", files)  # read and embedded
        encoder.encode("image", files)  # neither
    """

    def embeddings(
        self, maker: str, items: Sequence[Any], dim: int, encode: Callable[[Sequence[Any]], Embedded], cut: Cut
    ) -> Embedded:
        """As `complete`, of what `encode` gives."""

        def make(part: Sequence[Any]) -> Made:
            z, kept, skipped = encode(part)
            return list(z.unsqueeze(1)), kept, skipped

        rows, kept, skipped = self.complete(maker, items, dim, make, cut)
        return torch.cat([torch.empty(0, dim), *rows]), kept, skipped


def _state(file: str) -> str:
    """Size and time of change of a file; of what is not there nothing."""
    try:
        found = Path(file).stat()
    except (OSError, ValueError):
        return ""
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"  # unpacking restores the one, never the other
