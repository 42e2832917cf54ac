"""The files of a store, as its reader and its writer share them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from xmodal.errors import UserError

VECTORS, SEQUENCES = 1, 2  # the folder's form, written into store.json as `version`
FINGERPRINT = ("model", "revision", "weights", "preprocessing", "data")  # what must agree, cheapest to mend first
WAY_OUT = "run xmodal embed-frozen again"
FILES = ("ids.npy", "rows.npy", "frames.npy", "starts.npy", "store.json", "progress.json")


def map_array(path: Path, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    """A read-only memory-mapped .npy; never unpickles."""
    try:
        mapped = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())}); {WAY_OUT}") from error
    if mapped.dtype != dtype or mapped.shape != shape or not mapped.flags.c_contiguous:
        raise UserError(
            f"{path}: holds {mapped.dtype} {list(mapped.shape)}, expected {np.dtype(dtype)} {list(shape)}; {WAY_OUT}"
        )
    return np.asarray(mapped)  # a plain view: indexing the memmap class itself is slower


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
