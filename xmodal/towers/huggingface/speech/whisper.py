"""Whisper's encoder at the length of what it hears.

`transformers`' own forward pass takes 30 s and nothing else; here the same modules run on as many frames as there are,
with the positions cut, and padding hidden from the convolutions and from attention: it changes nothing. Axes: B
utterances, W windows, T frames of the spectrogram, S = ceil(T / 2) steps, F mel bins, G features.
"""

from typing import Any

import transformers
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.masking_utils import create_bidirectional_mask

from xmodal.towers.frames import Frames, mean_of, one_batch, valid_steps
from xmodal.towers.huggingface.layers import LayerStates
from xmodal.towers.huggingface.model import build_model
from xmodal.towers.huggingface.source import Source
from xmodal.towers.huggingface.speech.spectrogram import Hearing, WhisperProcessor, hearing_of
from xmodal.towers.kinds.transformers import TransformersTower

SILENCE = 0.5  # s after an utterance that is heard at its own length
AT_ONCE = 16  # windows of long audio that are encoded together, at least


class WhisperBackbone(nn.Module):
    """The steps of Whisper's encoder that hold speech, and their mean.

    Args:
        model: `WhisperEncoder`.
        hearing: how much of an utterance is heard at once.
        states: the layers that are wanted.
    """

    def __init__(self, model: Any, hearing: Hearing, states: LayerStates):
        super().__init__()
        self.model = model
        self.hearing = hearing
        self.states = states
        self.width = len(states.wanted) * int(model.config.d_model)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """`features` [B, T, F] and `lengths` [B] frames -> [B, G]."""
        return mean_of(self.sequence(inputs))

    def sequence(self, inputs: dict[str, Tensor]) -> Frames:
        """`features` [B, T, F] and `lengths` [B] frames that touch the audio -> the steps of those."""
        windows = self.hearing.windows
        values, lengths, counts = windows.split(inputs["features"], inputs["lengths"])
        size = max(AT_ONCE, len(counts))
        heard = self.hearing.frames(lengths)
        parts = [self._encode(values[at : at + size], heard[at : at + size]) for at in range(0, len(values), size)]
        found = windows.join(Frames(one_batch(parts), (lengths + 1) // 2), counts)
        return Frames(found.values[:, : int(found.lengths.max())], found.lengths)

    def _encode(self, features: Tensor, frames: Tensor) -> Tensor:
        """Windows [W, T, F], of which so many frames [W] are heard -> [W, S, G]."""
        model, heard = self.model, valid_steps(frames, int(frames.max()))
        x = (features[:, : heard.shape[1]] * heard[..., None]).transpose(1, 2)
        x = F.gelu(model.conv1(x))
        x = F.gelu(model.conv2(x * heard[:, None].to(x.dtype))).transpose(1, 2)
        x = x + model.embed_positions.weight[: x.shape[1]].to(x.dtype)
        x = F.dropout(x, model.dropout, self.training)
        mask = create_bidirectional_mask(model.config, x, valid_steps((frames + 1) // 2, x.shape[1]))
        return self.states.of(lambda: self._blocks(x, mask))

    def _blocks(self, x: Tensor, mask: Any) -> Tensor:
        """All blocks that are needed, and the final normalisation."""
        for block in self.model.layers[: max(1, *self.states.wanted)]:
            found = block(x, mask)
            x = found if isinstance(found, Tensor) else found[0]
        last: Tensor = self.model.layer_norm(x)
        return last


def load_whisper(
    spec: TransformersTower.Spec, source: Source, config: Any, extractor: Any
) -> tuple[WhisperBackbone, WhisperProcessor]:
    """Whisper's encoder, out of a whole Whisper or a folder that holds the encoder alone."""
    from transformers.models.whisper.modeling_whisper import WhisperEncoder  # late: few towers need it

    alone = spec.mode == "scratch" or config.architectures == ["WhisperEncoder"]
    model = build_model(WhisperEncoder if alone else transformers.AutoModel, source, config, spec.mode)
    return whisper_tower(spec, model if alone else model.get_encoder(), extractor)


def whisper_tower(
    spec: TransformersTower.Spec, encoder: Any, extractor: Any
) -> tuple[WhisperBackbone, WhisperProcessor]:
    """Backbone and processor around a `WhisperEncoder`.

    Raises:
        UserError: a window or layers that it has not.
    """
    most, hop = 2 * encoder.config.max_source_positions, extractor.hop_length
    rate = extractor.sampling_rate / hop
    hearing = hearing_of(spec, most, field=2, stride=2, margin=round(SILENCE * rate), rate=rate)
    states = LayerStates(spec.layers, list(encoder.layers), spec.name, [encoder.layer_norm])
    processor = WhisperProcessor(extractor, "mean", extractor.n_fft, hop, most, hearing, spec.told_layers)
    return WhisperBackbone(encoder, hearing, states), processor
