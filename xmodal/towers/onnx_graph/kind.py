"""Towers out of ONNX files. onnx and onnxruntime are imported only where such a tower is loaded (`backbone.py`)."""

import importlib.util
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import model_validator
from torch import nn

from xmodal.config.spec import Count, Positive, Spec
from xmodal.config.tower import TowerSpec, Whereabouts
from xmodal.errors import UserError
from xmodal.processor import Processor
from xmodal.towers.image_processor import Interpolation, Resize
from xmodal.towers.kind import TowerKind

GRAPH = "model.onnx"  # in a run's folder


class Audio(Spec):
    """A graph that takes waveforms [B, T], and where it has such inputs their lengths [B] or a mask [B, T]."""

    sample_rate: Count  # Hz
    shortest: Count = 1  # samples; shorter audio is padded with silence
    normalize: bool = False  # each waveform to mean 0 and variance 1


class Images(Spec):
    """A graph that takes pixels [B, 3, size, size]: `(x / 255 - mean) / std` of a resized and cropped image."""

    size: Count  # pixels, height and width
    mean: tuple[float, float, float]  # of values in 0..1
    std: tuple[Positive, Positive, Positive]
    interpolation: Interpolation = "bicubic"
    resize: Resize = "shortest"
    scale: Count | None = None  # pixels resized to before cropping; default: size


class Texts(Spec):
    """A graph that takes tokens [B, T], and where it has such inputs a mask and token types of zeros."""

    max_length: Count | None = None  # tokens; default: what tokenizer.json says, else no limit


class OnnxTower(TowerKind):
    """Any frozen encoder as an ONNX graph, on the CPU: vectors [B, G], or sequences [B, T, G] whose mean is taken.

    Example:
        spec = OnnxTower.Spec(path="encoder.onnx", audio={"sample_rate": 16000})
        tower, processor = build_tower(spec)
    """

    packages: ClassVar[tuple[str, ...]] = ("onnxruntime",)

    class Spec(TowerSpec):
        """`path` is the graph; its external data lie beside it. One of `audio`, `image`, `text` says what it takes.

        `output` names the output to take, where that is not the first. Sequences have their lengths from a second
        output, integers [B], or else in proportion to the input's.
        """

        path: Annotated[Path, Whereabouts()]
        mode: Annotated[Literal["locked"], Whereabouts()] = "locked"
        output: str | None = None
        audio: Audio | None = None
        image: Images | None = None
        text: Texts | None = None
        tokenizer: Annotated[Path | None, Whereabouts()] = None  # the folder of tokenizer.json; default: the graph's

        @model_validator(mode="after")
        def _takes_one_sort(self) -> Self:
            given = [name for name in ("audio", "image", "text") if getattr(self, name) is not None]
            if len(given) != 1:
                raise ValueError(
                    f"found {' and '.join(given) or 'none'} of audio, image and text: give the one that the graph "
                    "takes, as audio: {sample_rate: 16000}"
                )
            if self.tokenizer is not None and self.text is None:
                raise ValueError(f"tokenizer goes with text, and the graph takes {given[0]}; leave it out")
            return self

        @property
        def is_locked(self) -> bool:
            """A graph does not change."""
            return True

    def load(self, spec: Spec) -> tuple[nn.Module, Processor]:
        """See `backbone.load`.

        Raises:
            UserError: onnx or onnxruntime is not installed; or what `backbone.load` raises.
        """
        lacking = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
        if lacking:
            raise UserError(
                f"tower {str(spec.path)!r}: kind onnx needs {' and '.join(lacking)}, not installed here; pip install "
                "'xmodal[onnx]', or pip install onnx onnxruntime"
            )
        from xmodal.towers.onnx_graph import backbone

        return backbone.load(spec)

    def save(self, spec: Spec, backbone: Any, processor: Any, folder: Path) -> None:
        """The graph as model.onnx, its external data, and tokenizer.json where it takes texts."""
        backbone.graph.save(folder / GRAPH)
        if spec.text is not None:
            processor.save(folder)

    def local(self, spec: Spec, folder: Path) -> TowerSpec:
        """The same settings, over the graph in `folder`."""
        return spec.model_copy(update={"path": folder / GRAPH, "tokenizer": None})

    def model_of(self, spec: Spec) -> dict[str, Any]:
        """Its settings; the graph itself is told by its content."""
        return spec.settings()
