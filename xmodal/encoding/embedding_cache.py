"""Embeddings of files, kept beside a run: what one evaluation has embedded is not read by the next.

Input: items and their embeddings. Output: `FOLDER/MAKER/*.safetensors`, where MAKER stands for the model, its
preprocessing and its precision. An item is known by its path, size and time of change, or by its bytes; it is found
again whatever the other items of a test are. What could not be read is not kept; what a tower did not see whole is kept
with the reason, so that it is told the next time too.

Axes: n items, m of them found or readable, D embedding.
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
Keys = NDArray[np.int64]

log = logging.getLogger(__name__)

PART = 16_384  # items of a file: what a killed evaluation has embedded is there for the next


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


class EmbeddingCache:
    """A folder of embeddings, which several processes may fill at once.

    Example:
        encoder.cache = EmbeddingCache(Path("runs/cifar10_cl/embeddings"))
        encoder.encode("image", files)  # read and embedded
        encoder.encode("image", files)  # neither
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def complete(
        self, maker: str, items: Sequence[Any], dim: int, encode: Callable[[Sequence[Any]], Embedded], cut: Cut
    ) -> Embedded:
        """The embeddings of all items: those that are there, and those that `encode` makes, which are kept.

        `encode` adds to `cut` the items that its tower does not see whole; those found here are added too.

        Items that are neither files nor bytes are encoded and not kept.
        """
        keys = item_keys(items)
        if keys is None:
            return encode(items)
        known, found, reasons = self._find(maker, keys, dim)
        if reasons:
            names = [str(key) for key in keys]
            cut += [(items[at], reasons[name]) for at, name in enumerate(names) if known[at] and name in reasons]
        z = torch.empty(len(items), dim)
        if known.any():
            z[torch.from_numpy(known)] = found
        new, skipped = np.flatnonzero(~known), list[tuple[int, str]]()
        for start in range(0, len(new), PART):
            part = new[start : start + PART]
            told = len(cut)
            fresh, kept, bad = encode([items[at] for at in part])
            rows = part[kept]
            if len(rows):
                self._add(maker, keys[rows], fresh, cut[told:])
            z[torch.from_numpy(rows)], known[rows] = fresh, True
            skipped += [(int(part[at]), reason) for at, reason in bad]
        return z[torch.from_numpy(known)], np.flatnonzero(known).tolist(), skipped

    def _find(self, maker: str, keys: Keys, dim: int) -> tuple[NDArray[np.bool_], Tensor, dict[str, str]]:
        """Which items are there [n], their embeddings [m, D] in that order, and key -> why an item is cut.

        Damaged files are passed over.
        """
        known, parts, reasons = np.zeros(len(keys), dtype=bool), [], dict[str, str]()
        for file in sorted((self.folder / maker).glob("*.safetensors")):
            try:
                with safe_open(file, "pt") as opened:
                    there, z = opened.get_tensor("keys").numpy(), opened.get_tensor("z")
                    if there.shape != (len(z),) or z.shape[1:] != (dim,) or z.dtype != torch.float32:
                        continue
                    order = np.argsort(there)
                    at = order[np.searchsorted(there, keys, sorter=order).clip(max=len(there) - 1)]
                    new = (there[at] == keys) & ~known
                    if new.any() and bool(torch.isfinite(z[at[new]]).all()):
                        parts.append((np.flatnonzero(new), z[at[new]]))
                        known |= new
                        reasons |= json.loads((opened.metadata() or {}).get("cut", "{}"))
            except (OSError, SafetensorError, IndexError, ValueError):
                continue
        if not parts:
            return known, torch.empty(0), {}
        rows, found = np.concatenate([rows for rows, _ in parts]), torch.cat([z for _, z in parts])
        return known, found[torch.from_numpy(np.argsort(rows))], reasons

    def _add(self, maker: str, keys: Keys, z: Tensor, cut: Cut) -> None:
        """Keep the embeddings [m, D] of some items; where they cannot be written, say so and go on."""
        named = item_keys([item for item, _ in cut])
        reasons = {str(key): reason for key, (_, reason) in zip(named, cut, strict=True)} if named is not None else {}
        try:
            with written_whole(self.folder / maker / f"{uuid.uuid4().hex}.safetensors") as beside:
                save_file({"keys": torch.from_numpy(keys), "z": z.contiguous()}, beside, {"cut": json.dumps(reasons)})
        except OSError as error:
            log.warning("%s: embeddings are not kept (%s); give another folder", self.folder, error.strerror or error)


def _state(file: str) -> str:
    """Size and time of change of a file; of what is not there nothing."""
    try:
        found = Path(file).stat()
    except (OSError, ValueError):
        return ""
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"  # unpacking restores the one, never the other
