"""What the processors of all speech encoders of `transformers` share. Axes: T samples."""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from xmodal.processor import Processor


class SpeechProcessor(Processor):
    """The feature extractor, its rate, its description.

    Args:
        extractor: `transformers` feature extractor.
        pooling: of the backbone.
        shortest: samples; shorter audio is padded with silence.
        told: what else decides the features: window and layers, where they are not those of the first versions, whose
            stores say nothing of them.
    """

    kind: Literal["audio"] = "audio"

    def __init__(self, extractor: Any, pooling: str, shortest: int, told: dict[str, Any]):
        self.extractor = extractor
        self.sample_rate: int | None = int(extractor.sampling_rate)
        self.pooling = pooling
        self.shortest = shortest
        self.told = told

    def wave(self, item: np.ndarray, samples: int = 0) -> np.ndarray:
        """One waveform [T] as float32, with silence after it up to `samples`, and to `shortest`."""
        most = max(samples, self.shortest)
        return np.pad(np.asarray(item, dtype=np.float32), (0, max(0, most - len(item))))

    def save(self, folder: Path) -> None:
        """Write the feature extractor."""
        self.extractor.save_pretrained(folder)

    def describe(self) -> dict[str, Any]:
        """The feature extractor's settings, the pooling, window and layers."""
        settings = {k: v for k, v in self.extractor.to_dict().items() if k not in ("processor_class", "mel_filters")}
        return {
            "kind": "transformers_speech", "pooling": self.pooling, "extractor": dict(sorted(settings.items()))
        } | self.told  # fmt: skip
