"""Embeddings of a test, kept beside a run: another evaluation of the same items never reads them again.

Enters: what was embedded and by what. Leaves: a safetensors file per (weights, preprocessing, items). Items are known
by their path, size and time of change, or by their bytes.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from xmodal.data.tar_index import is_place
from xmodal.files import written_whole
from xmodal.towers.tower import Processor, Tower

Embedded = tuple[Tensor, list[int], list[tuple[int, str]]]  # z [M, D], positions kept [M], (position, reason) skipped


class KeptEmbeddings:
    """A folder of embeddings.

    Example:
        kept = KeptEmbeddings(Path("runs/demo/embeddings"))
        key = kept.key(tower, processor, items, torch.float32)
        found = kept.read(key)  # None the first time
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._towers: dict[int, str] = {}

    def key(self, tower: Tower, processor: Processor, items: Sequence[Any], dtype: torch.dtype) -> str | None:
        """A name for these items under this tower, run in `dtype`; None for items that are neither files nor bytes."""
        if id(tower) not in self._towers:
            digest = hashlib.sha256(tower.fingerprint().encode())
            for name, value in sorted(tower.head.state_dict().items()):
                digest.update(name.encode())
                digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
            self._towers[id(tower)] = digest.hexdigest()
        digest = hashlib.sha256(f"{self._towers[id(tower)]} {dtype}".encode())
        digest.update(json.dumps(processor.describe(), sort_keys=True, default=str).encode())
        for item in items:
            if isinstance(item, bytes):
                digest.update(hashlib.blake2b(item, digest_size=16).digest())
            elif isinstance(item, str | Path):
                digest.update(f"{item}\0{_state(str(item))}\0".encode())
            else:
                return None
        return digest.hexdigest()[:32]

    def read(self, key: str) -> Embedded | None:
        """What was kept under a key; None where there is nothing, or nothing that can be read."""
        path = self.folder / f"{key}.safetensors"
        try:
            with safe_open(path, "pt") as file:
                skipped = [(int(at), str(why)) for at, why in json.loads(file.metadata()["skipped"])]
                return file.get_tensor("z"), file.get_tensor("kept").tolist(), skipped
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return None

    def write(self, key: str, embedded: Embedded) -> None:
        """Keep embeddings under a key."""
        z, kept, skipped = embedded
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {"z": z.contiguous(), "kept": torch.tensor(kept, dtype=torch.int64)}
        with written_whole(self.folder / f"{key}.safetensors") as beside:
            save_file(tensors, beside, {"skipped": json.dumps(skipped)})


def _state(item: str) -> str:
    """Size and time of change of a file, or of the tar a place lies in; of what is not there nothing."""
    try:
        found = Path(item.rpartition("@")[0] if is_place(item) else item).stat()
    except OSError:
        return ""
    return f"{found.st_size} {found.st_mtime_ns}"
