"""The embeddings of a frozen tower, computed once and read from disk by item id.

Input: rows of features, written batch by batch (`StoreWriter`, resumable). Output: a folder anyone can read, and
`EmbeddingStore`, which memory-maps it. Axes: n items of the store, G features.

    ids.npy        [n] int64, ascending      rows.npy   [n, G] float32, in the order of ids
    store.json     written last: what made the rows; without it the folder is not a store
    progress.json  only while the store is being made: what made it, and how many batches are on disk
"""

from xmodal.store.ids import content_id, data_digest, view_id
from xmodal.store.reader import EmbeddingStore
from xmodal.store.writer import StoreWriter

__all__ = ["EmbeddingStore", "StoreWriter", "content_id", "data_digest", "view_id"]
