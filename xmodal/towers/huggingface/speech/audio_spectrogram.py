"""The Audio Spectrogram Transformer at the length of what it hears: the patches and positions of a shorter time.

Its patches lie on a grid of F' rows (frequency) and C columns (time), row after row. Axes: B recordings, W windows, T
frames, F mel bins, G features.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from xmodal.towers.frames import Frames, all_of, by_length, mean_of
from xmodal.towers.huggingface.layers import LayerStates, layer_states
from xmodal.towers.huggingface.speech.spectrogram import ASTProcessor, Hearing, hearing_of
from xmodal.towers.kinds.transformers import TransformersTower

POSITIONS = "embeddings.position_embeddings"


class ASTBackbone(nn.Module):
    """The patches of AST that hold audio, and their mean; or (cls) the mean of its two class tokens, as AST does.

    Windows of one number of columns are encoded together: its attention takes no mask. Where `hearing.cut`, the mean is
    over all patches, silent ones too.

    Args:
        model: `ASTModel`.
        pooling: mean or cls.
        hearing: how much of a recording is heard at once.
        states: the layers that are wanted.
    """

    def __init__(self, model: Any, pooling: str, hearing: Hearing, states: LayerStates):
        super().__init__()
        self.model = model
        self.pooling = pooling
        self.hearing = hearing
        self.states = states
        config = model.config
        self.step_width = self.width = len(states.wanted) * int(config.hidden_size)
        self.patch, self.stride = int(config.patch_size), int(config.time_stride)
        self.rows = (config.num_mel_bins - self.patch) // config.frequency_stride + 1  # F'
        self.most = (config.max_length - self.patch) // self.stride + 1  # columns that there are positions for

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """`features` [B, T, F] and `lengths` [B] frames -> [B, G]."""
        if self.pooling == "cls":
            split = self.hearing.windows.split(inputs["features"], inputs["lengths"])
            tokens = torch.stack([part[:2].mean(0) for part in self._encode(split.values, split.lengths)])
            return torch.stack([part.mean(0) for part in tokens.split(split.counts)])
        frames = self.sequence(inputs)
        return mean_of(all_of(frames.values) if self.hearing.cut else frames)

    def sequence(self, inputs: dict[str, Tensor]) -> Frames:
        """`features` [B, T, F] and `lengths` [B] frames -> the patches of every column that touches them, in time."""
        windows = self.hearing.windows
        split = windows.split(inputs["features"], inputs["lengths"])
        parts = self._encode(split.values, split.lengths)
        columns = [part[2:].unflatten(0, (self.rows, -1)).transpose(0, 1).flatten(1) for part in parts]
        whole = Frames(nn.utils.rnn.pad_sequence(columns, batch_first=True), self._columns(split.lengths))
        found = windows.join(whole, split.counts)
        values = found.values.unflatten(2, (self.rows, self.width)).flatten(1, 2)
        return Frames(values, found.lengths * self.rows)

    def _columns(self, frames: Tensor) -> Tensor:
        """Columns of patches over so many frames, the last of which may reach beyond them."""
        return (-(-(frames - self.patch) // self.stride) + 1).clamp(1, self.most)

    def _encode(self, features: Tensor, lengths: Tensor) -> list[Tensor]:
        """Windows [W, T, F] -> class tokens and patches of each [2 + F' * C, G]."""
        columns = self._columns(self.hearing.frames(lengths)) if self.hearing.padded else self._columns(lengths)

        def encode(alike: Tensor, count: int) -> Frames:
            frames = self.patch + self.stride * (count - 1)
            return all_of(self._states(features[alike, :frames], count))

        return by_length(columns, encode).each()

    def _states(self, features: Tensor, columns: int) -> Tensor:
        """Frames of `columns` columns [W, T, F] -> [W, 2 + F' * columns, G]."""
        table = self.model.get_parameter(POSITIONS)
        grid = table[:, 2:].unflatten(1, (self.rows, self.most))[:, :, :columns].flatten(1, 2)
        positions = {POSITIONS: torch.cat([table[:, :2], grid], 1)}
        return self.states.of(lambda: functional_call(self.model, positions, (features,)).last_hidden_state)


def load_ast(
    spec: TransformersTower.Spec, model: Any, extractor: Any, pooling: str
) -> tuple[ASTBackbone, ASTProcessor]:
    """Backbone and processor around an `ASTModel`.

    Raises:
        UserError: a window or layers that it has not.
    """
    config, rate = model.config, extractor.sampling_rate
    window, hop = round(rate * 0.025), round(rate * 0.01)  # Kaldi's
    patch, stride = config.patch_size, config.time_stride
    hearing = hearing_of(spec, config.max_length, field=patch, stride=stride, margin=patch, rate=rate / hop)
    states = layer_states(spec.layers, model, spec.name)
    processor = ASTProcessor(extractor, pooling, window, hop, config.max_length, hearing, spec.told_layers)
    return ASTBackbone(model, pooling, hearing, states), processor
