"""Vectors as cosines need them."""

import numpy as np


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows [m, G] of norm 1, of the type they come in; of a row of zeros, zeros.

    Example:
        unit(store.all_rows())
    """
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
