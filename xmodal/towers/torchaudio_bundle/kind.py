"""Towers out of torchaudio's bundles. torchaudio is imported only where such a tower is loaded (`model.py`)."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import nn

from xmodal.config.spec import Count
from xmodal.config.tower import Mode, Whereabouts
from xmodal.processor import Processor
from xmodal.towers.kind import OwnTower


class TorchaudioTower(OwnTower):
    """A bundle of `torchaudio.pipelines`: wav2vec 2.0, HuBERT or WavLM; the mean over its frames.

    Example:
        spec = TorchaudioTower.Spec(bundle="HUBERT_BASE", layers=9, weights="hubert_base.safetensors")
        tower, processor = build_tower(spec)
    """

    packages: ClassVar[tuple[str, ...]] = ("torchaudio",)

    class Spec(OwnTower.Spec):
        """`layers` is the number of a transformer layer, 1 for the first; several stand side by side in the features.

        `weights` is a safetensors file with the bundle's parameters, or a run's folder. Without it the bundle's own
        are taken from torch's cache or from download.pytorch.org: a pickled file, of which tensors alone are read.
        """

        comes_trained: ClassVar[bool] = True

        bundle: str
        mode: Annotated[Mode, Whereabouts()] = "locked"
        weights: Annotated[Path | None, Whereabouts()] = None
        layers: Literal["last"] | Count | Annotated[tuple[Count, ...], Field(min_length=1)] = "last"

    def load(self, spec: Spec) -> tuple[nn.Module, Processor]:
        """See `model.load`."""
        from xmodal.towers.torchaudio_bundle import model

        return model.load(spec)
