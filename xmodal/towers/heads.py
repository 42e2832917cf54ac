"""Heads: from a backbone's features [B, G] to the embedding before normalisation [B, D]; `Tower` normalises.

A head is a module with `.dim` (D), made as `Head(width, dim, spec)`: G, D where the spec leaves it out, its settings.
"""

from typing import Any, ClassVar

from torch import Tensor, nn

from xmodal.config.kinds import HEADS
from xmodal.config.spec import Count, Share
from xmodal.config.tower import HeadSpec
from xmodal.errors import UserError


class Identity(nn.Module):
    """No head: the backbone's pooled features are the embedding (before normalisation), D = G."""

    class Spec(HeadSpec):
        """Nothing to set."""

        trains: ClassVar[bool] = False

    def __init__(self, width: int, dim: int | None = None, spec: Spec | None = None):
        super().__init__()
        self.dim = width  # a D asked for is refused where towers meet, with the way out

    def forward(self, features: Tensor) -> Tensor:
        """`features` as they are [B, G]."""
        return features


class Linear(nn.Linear):
    """One linear map, W x + b.

    Args:
        width: G.
        dim: D; default the spec's, else G.
        spec: as a config gives it.
    """

    class Spec(HeadSpec):
        """`dim` left out is the width of the tower on the other side of the pair."""

        dim: Count | None = None

    def __init__(self, width: int, dim: int | None = None, spec: Spec | None = None):
        self.dim = (spec.dim if spec else None) or dim or width
        super().__init__(width, self.dim)


class MLP(nn.Sequential):
    """Linear, GELU, linear: W2 gelu(W1 x + b1) + b2, with dropout after the GELU.

    Args:
        width: G.
        dim: D; default the spec's, else G.
        spec: as a config gives it, or
        settings: those of the spec by name (`hidden=512`).
    """

    class Spec(HeadSpec):
        """`dim` left out is the width of the tower on the other side of the pair."""

        dim: Count | None = None
        hidden: Count = 1024  # rows of W1
        dropout: Share = 0.0  # of hidden units, in training
        residual: bool = False  # x is added to the output; D is then G

    def __init__(self, width: int, dim: int | None = None, spec: Spec | None = None, **settings: Any):
        spec = self.Spec.given(spec, settings)
        self.dim = spec.dim or dim or width
        if spec.residual and self.dim != width:
            raise UserError(
                f"head.residual: {width} features cannot be added to {self.dim}; leave dim out, or set residual: false"
            )
        self.residual, hidden = spec.residual, spec.hidden
        super().__init__(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(spec.dropout), nn.Linear(hidden, self.dim))

    def forward(self, features: Tensor) -> Tensor:
        """[B, G] -> [B, D]."""
        found: Tensor = super().forward(features)
        return features + found if self.residual else found


def build_head(spec: HeadSpec, width: int, out_dim: int | None = None) -> nn.Module:
    """The head a spec asks for; where it leaves `dim` out, D is `out_dim`, else G.

    Example:
        build_head(Linear.Spec(), width=144, out_dim=384).dim  # 384
    """
    head: nn.Module = HEADS.find(spec.kind)(width, out_dim, spec)
    return head
