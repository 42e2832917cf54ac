"""One modality of an encoder: how its texts, recordings and images go through its tower, as many at a time as fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xmodal.data.reading import ItemReader
from xmodal.encoding.cutting import Cut
from xmodal.encoding.embedding import BATCH_SIZE, embed, require_finite, within_memory
from xmodal.encoding.embedding_cache import Embedded, RowCache
from xmodal.encoding.kept_features import embed_through_features, features_maker
from xmodal.encoding.media import read_media
from xmodal.encoding.stores.texts import embed_texts
from xmodal.errors import UserError
from xmodal.processor import Processor
from xmodal.towers.kinds.store import StoreProcessor
from xmodal.towers.tower import Tower

GPU_BATCH = 256


@dataclass
class Side:
    """A modality, its tower, what prepares its items, and what is learned while it encodes.

    modality, model: how messages call it, and the encoder it is of. store: of the store its tower was trained from,
    whose texts are not encoded again. dtype: what the tower runs in.
    """

    modality: str
    model: str
    tower: Tower
    processor: Processor
    store: StoreProcessor | None
    dtype: torch.dtype
    size: int | None = None  # items at a time, once memory has shown how many go
    maker: str | None = None  # digest of its locked backbone and preprocessing

    def media(
        self,
        reader: ItemReader,
        items: Sequence[Any],
        batch_size: int | None,
        cache: RowCache | None,
        bar: Any,
        cut: Cut,
    ) -> Embedded:
        """Embeddings of recordings or images; `cache` has what a locked backbone said of files before.

        `bar` moves with what is read, `cut` gets what the tower does not see whole.
        """
        if cache is not None and self.tower.locked and self.dtype == torch.float32:
            self.maker = self.maker or features_maker(self.tower, self.processor)
            size = batch_size or self._size()
            (z, kept, skipped), size = embed_through_features(
                self.tower, self.processor, reader, items, cache, self.maker, self._device(), size, cut, bar
            )
            if batch_size is None:
                self.size = size
            require_finite(z, self.model, self.modality, self.dtype)
            return z, kept, skipped
        parts, kept, skipped = [torch.empty(0, self.tower.dim)], list[int](), list[tuple[int, str]]()
        for read in read_media(reader, items):
            parts.append(self._embed(read.items, batch_size, None))
            kept += read.positions
            skipped += read.skipped
            cut += read.cut
            bar.update(read.size)
        return torch.cat(parts), kept, skipped

    def texts(
        self, reader: ItemReader, items: Sequence[Any], batch_size: int | None, progress: str | None, cut: Cut
    ) -> Tensor:
        """Embeddings of texts [N, D]. Raises `UserError` for one that is no text."""
        try:
            texts = [reader.decode(item) for item in items]
        except UserError as error:
            raise UserError(f"{self.modality}: {error}") from None
        cut += [(text, reason) for text in texts if (reason := reader.processor.cut(text)) is not None]
        if self.store is None:
            return self._embed(texts, batch_size, progress)
        return embed_texts(
            self.tower, self.store, texts, self._device(), lambda new: self._embed(new, batch_size, progress)
        )

    def _embed(self, items: Sequence[Any], batch_size: int | None, progress: str | None) -> Tensor:
        if not items:
            return torch.empty(0, self.tower.dim)
        device = self._device()

        def run(size: int) -> Tensor:
            return embed(self.tower, self.processor, items, batch_size=size, device=device, what="z", progress=progress)

        with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
            if batch_size is not None:
                z = run(batch_size)
            else:
                z, self.size = within_memory(self._size(), run)
        require_finite(z, self.model, self.modality, self.dtype)
        return z

    def _size(self) -> int:
        return self.size or (GPU_BATCH if self._device().type == "cuda" else BATCH_SIZE)

    def _device(self) -> torch.device:
        return next((p.device for p in self.tower.parameters()), torch.device("cpu"))
