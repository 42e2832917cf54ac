"""Heads over a backbone's sequence: what a frozen encoder says of every frame, patch or token, trained to one vector.

    frames [B, T, G] -> contextual -> steps [B, T', W] -> pooled -> features [B, W] -> forward -> [B, D]

`contextual` and `pooled`, together `pool`, are run where the backbone is, inside chunks; what follows sees vectors, as
every other head does. A tower with such a head asks its backbone for `sequence(inputs)`, and not for pooled features.
Padding changes nothing. Axes: B items, T steps, T' of them after stacking, G features of a step, W of the pooled
vector, D embedding.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xmodal.config.spec import Configured, Count, Share
from xmodal.config.tower import HeadSpec
from xmodal.errors import UserError
from xmodal.towers.frames import Frames, valid_steps
from xmodal.towers.own.transformer import AttentionPooling, Block, sinusoids


class SequenceHead(Configured, nn.Module):
    """Base of heads over sequences: normalisation, an optional mix of layers, pooling, one linear map.

    Args:
        width: G; with `mix`, of all layers side by side.
        dim: D, where the spec says nothing of it; default W.
        spec: as a config gives it, or
        settings: those of the spec by name.
        pooled: W, as each kind of head has it.

    Raises:
        UserError: a width that is no multiple of `mix`, or of `heads`.
    """

    class Spec(HeadSpec):
        """`dim` left out is the width of the tower on the other side of the pair.

        `mix`: how many layers of the backbone stand side by side in its features (`layers` of the tower); they are
        weighed by a softmax that is learned, each normalised by itself (ELMo, Peters et al. 2018, equation 1; SUPERB).
        """

        over_sequence: ClassVar[bool] = True

        dim: Count | None = None
        heads: Count = 4  # attention heads, of the pooling too
        mix: Count = 1

    def __init__(self, width: int, dim: int | None, spec: "SequenceHead.Spec", pooled: int):
        super().__init__()
        if width % spec.mix:
            raise UserError(
                f"head.mix: {spec.mix} layers, but the backbone's {width} features are no multiple of that; set mix to "
                "the number of the tower's `layers`"
            )
        if pooled % spec.heads:
            raise UserError(f"head.heads: {pooled} features are no multiple of {spec.heads} heads; set heads")
        self.width, self.mix = pooled, spec.mix
        self.dim = spec.dim or dim or pooled
        self.step_width = width // spec.mix
        self.norm = nn.LayerNorm(self.step_width)
        self.weights = nn.Parameter(torch.zeros(spec.mix)) if spec.mix > 1 else None
        self.pooling = AttentionPooling(pooled, spec.heads)
        self.project = nn.Linear(pooled, self.dim)

    def steps(self, frames: Frames) -> Tensor:
        """Normalised frames [B, T, G / mix], zeros where nothing counts."""
        beyond = ~frames.mask()[..., None]
        values = frames.values.masked_fill(beyond, 0)  # before the norm too: what means nothing may be infinite
        if self.weights is None:
            mixed = self.norm(values)
        else:
            layers = self.norm(values.unflatten(-1, (self.mix, self.step_width)))
            mixed = torch.einsum("btlg,l->btg", layers, self.weights.softmax(0).to(layers.dtype))
        return mixed.masked_fill(beyond, 0)

    def contextual(self, frames: Frames) -> Frames:
        """frames -> what is pooled, [B, T', W]: objectives over sequences see it."""
        raise NotImplementedError

    def pooled(self, steps: Frames) -> Tensor:
        """Contextual steps [B, T', W] -> [B, W]."""
        return self.pooling(steps.values, steps.mask()[:, None, None])

    def pool(self, frames: Frames) -> Tensor:
        """frames -> [B, W]."""
        return self.pooled(self.contextual(frames))

    def forward(self, features: Tensor) -> Tensor:
        """[B, W] -> [B, D]."""
        return self.project(features)

    def pooling_parameters(self) -> list[nn.Parameter]:
        """What `pool` trains: all but the last linear map."""
        last = {id(parameter) for parameter in self.project.parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in last]


class Attention(SequenceHead):
    """Multi-head attention pooling over the frames as they are, W = G; one learned query a head."""

    def __init__(
        self, width: int, dim: int | None = None, spec: SequenceHead.Spec | None = None, **settings: int
    ) -> None:
        spec = self.Spec.given(spec, settings)
        super().__init__(width, dim, spec, width // spec.mix)

    def contextual(self, frames: Frames) -> Frames:
        """The normalised frames."""
        return Frames(self.steps(frames), frames.lengths)


class Transformer(SequenceHead):
    """Steps stacked, projected, contextualised by pre-norm transformer layers, pooled by attention.

    Positions are sinusoids. The sequences of one batch may be of any length; steps that are left over after stacking
    are filled up with zeros.

    Example:
        head = Transformer(384, dim=384, stack=4, hidden=192, layers=2)
        head(head.pool(Frames(torch.randn(2, 94, 384), torch.tensor([94, 60])))).shape  # [2, 384]
    """

    class Spec(SequenceHead.Spec):
        """Settings of the layers."""

        stack: Count = 4  # neighbouring steps that make one
        hidden: Count = 192  # W
        layers: Count = 2
        feed_forward: Count = 768
        dropout: Share = 0.1

    def __init__(
        self, width: int, dim: int | None = None, spec: Spec | None = None, **settings: int | float | None
    ) -> None:
        spec = self.Spec.given(spec, settings)
        super().__init__(width, dim, spec, spec.hidden)
        self.stack = spec.stack
        self.enter = nn.Linear(self.step_width * spec.stack, spec.hidden)
        self.dropout = nn.Dropout(spec.dropout)
        self.blocks = nn.ModuleList(
            Block(spec.hidden, spec.heads, spec.feed_forward, spec.dropout) for _ in range(spec.layers)
        )
        self.leave = nn.LayerNorm(spec.hidden)

    def contextual(self, frames: Frames) -> Frames:
        """The last layer's steps, normalised; T' = T / stack, rounded up."""
        x = self.steps(frames)
        x = F.pad(x, (0, 0, 0, -x.shape[1] % self.stack))
        x = x.reshape(x.shape[0], -1, self.stack * x.shape[2])
        lengths = (frames.lengths + self.stack - 1) // self.stack
        mask = valid_steps(lengths, x.shape[1])[:, None, None]
        x = self.enter(x)
        x = self.dropout(x + sinusoids(x.shape[1], x.shape[2], x.device).to(x.dtype))
        for block in self.blocks:
            x = block(x, mask)
        return Frames(self.leave(x), lengths)
