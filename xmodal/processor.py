"""What stands between an item and a tower: features of one item, a padded batch of them, and what was cut off.

Data, towers and encoding all speak of processors, so the protocol lies below them. Derive from it to inherit the
defaults: what a processor has nothing to say about it need not define.
"""

from collections.abc import Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from PIL import Image
from torch import Tensor


@runtime_checkable
class Processor(Protocol):
    """Turns items into a tower's input.

    `kind` says what one item is. text: a str; audio: a float32 waveform [T], mono, at `sample_rate`; image: a
    `PIL.Image.Image` in RGB; item_id: an int that names a row of a store (such a processor also has `store`, an
    `EmbeddingStore`, `views`, the number of views the store holds of each item, and `sequences`: are they sequences?).

    Example:
        class Letters(Processor):
            kind = "text"

            def features(self, item):
                return np.frombuffer(item.encode(), np.uint8)[:8]

            def collate(self, features):
                return {"x": torch.tensor([[float(x.sum())] for x in features])}

            def describe(self):
                return {"kind": "letters"}
    """

    kind: Literal["text", "audio", "image", "item_id"]
    sample_rate: int | None = None  # Hz; audio only
    mask_token: str | None = None  # text only: what stands for words that are hidden, where the tower has such a token
    log_mel: bool = False  # are the features log-mel [T, F], to which augmentation of log-mel applies?

    def features(self, item: Any) -> np.ndarray:
        """One item's features, without padding; the same item always gives the same features."""
        ...

    def collate(self, features: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """A padded batch; how far it is padded changes no embedding."""
        ...

    def describe(self) -> dict[str, Any]:
        """Everything besides the weights that decides a tower's features, for JSON."""
        ...

    def cut(self, item: Any) -> str | None:
        """Why the tower does not see all of this item, in a few words; None where it does (the default).

        Takes what `features` takes, and is cheap beside it: whoever reads items calls it for each, counts the answers
        and says them once. The embedding is made all the same.

        Example:
            processor.cut("a very long caption ...")  # "text of 1,204 tokens cut to 512"
        """
        return None


@runtime_checkable
class ImageProcessor(Processor, Protocol):
    """A processor of images as augmentation needs it: its features are uint8 [3, H, W]."""

    size: tuple[int, int]  # height and width of what the tower takes
    interpolation: str  # the name of the resampling filter, as Pillow has it, in lower case

    def features(self, item: Image.Image) -> np.ndarray:
        """The evaluation view: uint8 [3, H, W]."""
        ...
