"""Audio and images as an encoder takes them: read some at a time, in threads where that pays."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from xmodal.data.reading import UNREADABLE, ItemReader
from xmodal.encoding.embedding import Features
from xmodal.errors import UserError

DECODED = 512  # recordings held in memory at a time; each chunk is sorted by length
DECODERS = os.cpu_count() or 1  # threads that decode images: Pillow leaves Python to the others meanwhile


class Read(NamedTuple):
    """Some items, read."""

    size: int  # how many were looked at
    items: list[Any]  # waveforms, or an image's `Features`: a decoded photo takes 100 times the memory
    positions: list[int]  # of those, among all items
    skipped: list[tuple[int, str]]  # (position, why it cannot be read)
    cut: list[tuple[Any, str]]  # (item, why its tower does not see all of it)


def read_media(reader: ItemReader, items: Sequence[Any]) -> Iterator[Read]:
    """Read audio or images, `DECODED` at a time.

    Raises:
        UserError: samples whose rate nobody said.
    """
    is_image = reader.processor.kind == "image"

    def read(item: Any) -> tuple[Any, str | None] | Exception:
        try:
            decoded = reader.decode(item)
            features = Features(reader.processor.features(decoded)) if is_image else decoded
            return features, reader.processor.cut(decoded)
        except UNREADABLE as error:
            return error

    with ThreadPoolExecutor(DECODERS) as pool:
        for start in range(0, len(items), DECODED):
            part = items[start : start + DECODED]
            done = Read(len(part), [], [], [], [])
            for at, found in enumerate(pool.map(read, part) if is_image else map(read, part)):
                if isinstance(found, Exception):
                    done.skipped.append((start + at, str(found)))
                    continue
                done.items.append(found[0])
                done.positions.append(start + at)
                if found[1] is not None:
                    done.cut.append((part[at], found[1]))
            yield done


def require_list(modality: str, kind: str, items: Any, batch_size: Any) -> None:
    """Raise `UserError` where items are no list of them, or the batch size is none."""
    batch = isinstance(items, np.ndarray | Tensor) and kind == "image" and items.ndim == 4
    if not batch and (isinstance(items, str | bytes | np.ndarray | Tensor) or not isinstance(items, Sequence)):
        raise UserError(f"{modality}: expected a list of items, found one {type(items).__name__}")
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise UserError(f"{modality}: batch_size {batch_size}, expected a whole number, 1 or more")
