"""A torchaudio bundle as a backbone: built as the bundle says, with weights that are tensors and nothing else.

Axes: B utterances, T samples or frames, G features of a frame.
"""

import hashlib
import logging
import pickle
import urllib.error
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from xmodal.errors import UserError, no_such_file
from xmodal.towers.frames import Frames, all_of, by_length, mean_of
from xmodal.towers.torchaudio_bundle.kind import TorchaudioTower
from xmodal.towers.waveforms import WaveProcessor
from xmodal.towers.weights import take_weights

log = logging.getLogger(__name__)

HOME = "https://download.pytorch.org/torchaudio/models/"


class BundleBackbone(nn.Module):
    """Frames of some layers of a bundle's encoder, side by side; the mean over the frames.

    The smaller models normalise over time in their first convolution, and would hear padding: utterances of one length
    are encoded together, without padding.

    Args:
        model: `torchaudio.models.Wav2Vec2Model`; what lies above the highest layer is taken off.
        layers: their numbers, 1 for the first.
    """

    def __init__(self, model: Any, layers: tuple[int, ...]):
        super().__init__()
        transformer = model.encoder.transformer
        self.model, self.layers = model, layers
        transformer.layers = transformer.layers[: max(layers)]
        if not transformer.layer_norm_first:  # then it comes after the last layer, which is given as it is
            transformer.layer_norm.requires_grad_(False)
        self.width = int(model.encoder.feature_projection.projection.out_features) * len(layers)

    def extra_repr(self) -> str:
        """Which layers."""
        return f"layers {self.layers}"

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """`values` [B, T] and `lengths` [B] samples -> [B, G] float32."""
        return mean_of(self.sequence(inputs))

    def sequence(self, inputs: dict[str, Tensor]) -> Frames:
        """`values` [B, T] and `lengths` [B] samples -> the layers' frames."""
        values = inputs["values"]

        def encode(rows: Tensor, length: int) -> Frames:
            found, _ = self.model.extract_features(values[rows, :length], num_layers=max(self.layers))
            return all_of(torch.cat([found[layer - 1] for layer in self.layers], dim=-1))

        return by_length(inputs["lengths"], encode)


def load(spec: TorchaudioTower.Spec) -> tuple[BundleBackbone, WaveProcessor]:
    """Backbone and processor of a spec.

    Raises:
        UserError: no torchaudio that imports, no such bundle or layer, weights that cannot be had or do not fit.
    """
    bundle = bundle_of(spec.bundle)
    from torchaudio.models import wav2vec2_model, wavlm_model

    build = wavlm_model if bundle._model_type == "WavLM" else wav2vec2_model
    # a dropped layer has no gradient, which DDP refuses; `aux` classifies letters
    model: Any = build(**{**bundle._params, "encoder_layer_drop": 0.0, "aux_num_out": None})
    most = len(model.encoder.transformer.layers)
    layers = (most,) if spec.layers == "last" else (spec.layers,) if isinstance(spec.layers, int) else spec.layers
    if max(layers) > most or len(set(layers)) < len(layers):
        raise UserError(f"tower {spec.bundle!r}: layers {list(layers)}: expected different ones of 1 to {most}")
    if spec.mode != "scratch" and (spec.weights is None or not spec.weights.expanduser().is_dir()):
        own = spec.weights is None
        state = bundle_weights(spec.bundle, bundle) if own else file_weights(spec.weights.expanduser())  # type: ignore[union-attr]
        take_state(model, {n: v for n, v in state.items() if not n.startswith("aux.")}, spec)
    backbone = BundleBackbone(model, layers)
    if spec.weights is not None and spec.weights.expanduser().is_dir():
        take_weights(backbone, spec.weights.expanduser())
    shortest = 1
    for convolution in reversed(model.feature_extractor.conv_layers):
        shortest = (shortest - 1) * int(convolution.stride) + int(convolution.kernel_size)
    return backbone, WaveProcessor(int(bundle.sample_rate), shortest, bundle._normalize_waveform)


def bundle_of(name: str) -> Any:
    """The bundle of this name.

    Raises:
        UserError: torchaudio is not installed, does not import, or has no such bundle of a speech encoder.
    """
    try:
        from torchaudio import pipelines
    except Exception as error:  # OSError, ImportError, RuntimeError, AttributeError: all seen, none documented
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(
            f"tower {name!r}: torchaudio does not import ({reason}); install the one that goes with torch "
            f"{torch.__version__}, or take the model from transformers (kind: transformers)"
        ) from error
    found = getattr(pipelines, name, None)
    if not isinstance(found, pipelines.Wav2Vec2Bundle):
        there = [each for each in vars(pipelines) if isinstance(getattr(pipelines, each), pipelines.Wav2Vec2Bundle)]
        raise UserError(f"tower {name!r}: torchaudio bundles no such speech encoder; there: {', '.join(there)}")
    return found


def bundle_weights(name: str, bundle: Any) -> dict[str, Tensor]:
    """A bundle's own weights, from torch's cache or the network; says where they are from and what they are.

    Raises:
        UserError: they cannot be had, or are more than tensors.
    """
    url = bundle._path if bundle._path.startswith("https") else HOME + bundle._path
    file = Path(torch.hub.get_dir(), "checkpoints", Path(url).name)
    way_out = "name a safetensors file of them as weights, or take the model from transformers (kind: transformers)"
    try:
        state: dict[str, Tensor] = torch.hub.load_state_dict_from_url(url, map_location="cpu", weights_only=True)
    except (urllib.error.URLError, OSError) as error:
        raise UserError(
            f"tower {name!r}: its weights are neither in {file} nor to be had from {url} ({error}); {way_out}"
        ) from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"tower {name!r}: {file} cannot be read as tensors alone ({reason}); {way_out}") from error
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    log.warning("tower %r: weights of %s (%s, sha256 %s)", name, url, file, digest)
    return state


def file_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        UserError: missing, or no safetensors.
    """
    if not path.is_file():
        raise no_such_file(path)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{path}: cannot be read as safetensors ({error}); pickled weights are never loaded from a file: save the "
            "model's state_dict with safetensors.torch.save_file"
        ) from error


def take_state(model: nn.Module, state: dict[str, Tensor], spec: TorchaudioTower.Spec) -> None:
    """Load a bundle's parameters. Raises `UserError` where they are another model's."""
    wanted = model.state_dict()
    for name in [*wanted, *state]:
        found = tuple(state[name].shape) if name in state else None
        expected = tuple(wanted[name].shape) if name in wanted else None
        if found != expected:
            raise UserError(
                f"tower {spec.bundle!r}: its weights are another model's: {name} is {found or 'missing'}, expected "
                f"{expected or 'none of that name'}; name those of {spec.bundle}"
            )
    model.load_state_dict(state)
