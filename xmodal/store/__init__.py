"""The features of a frozen tower, computed once and read from disk by item id: a vector an item, or a sequence.

Input: features, written in parts by any number of processes (`StoreWriter`, resumable). Output: a folder anyone can
read, and `EmbeddingStore`, which memory-maps it. Axes: n items of the store, G features, S steps of all items together.

    ids.npy        [n] int64, ascending
    rows.npy       [n, G] float32, in the order of ids: a store of vectors
    frames.npy     [S, G] float16, item after item in the order of ids; and
    starts.npy     [n + 1] int64, where each item's steps begin: a store of sequences
    store.json     written last: what made the rows; without it the folder is not a store
    progress.json  only while the store is being made: what is being made
    parts/         only while the store is being made: what is made already
"""

from xmodal.store.ids import content_id, data_digest, view_id
from xmodal.store.reader import EmbeddingStore
from xmodal.store.writer import StoreWriter

__all__ = ["EmbeddingStore", "StoreWriter", "content_id", "data_digest", "view_id"]
