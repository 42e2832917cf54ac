"""What items, views and data sets are called in a store: 64-bit names made of their content."""

import hashlib

import numpy as np


def content_id(content: str | bytes) -> int:
    """A signed 64-bit name for what an item holds: BLAKE2b, 8 bytes. Equal content, equal id, on every machine.

    Example:
        content_id("turn on the lights") == content_id(b"turn on the lights")
    """
    data = content.encode() if isinstance(content, str) else content
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little", signed=True)


def view_id(item: int, view: int, views: int) -> int:
    """The store's name for one of the `views` augmented views of an item; of a single one, the item's own.

    Example:
        view_id(7, 0, 1)  # 7
    """
    return item if views == 1 else content_id(f"{item} view {view}")


def data_digest(ids: np.ndarray, contents: np.ndarray) -> str:
    """What a store holds, in 32 hex digits: over the (item id, content id) pairs in ascending order.

    `ids`, `contents`: [n] int64. The order of the manifest does not matter.
    """
    order = np.lexsort((contents, ids))
    pairs = np.stack([ids[order], contents[order]], axis=1).astype("<i8")
    return hashlib.blake2b(pairs.tobytes(), digest_size=16).hexdigest()
