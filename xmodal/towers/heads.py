"""Heads: from a backbone's features [B, G] to the embedding before normalisation [B, D]; `Tower` normalises.

A head is a module with `.dim` (D), made as `Head(width, dim, spec)`: G, D where the spec leaves it out, its settings.
"""

import itertools
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from xmodal.config.kinds import HEADS
from xmodal.config.spec import Count, Share
from xmodal.config.tower import HeadSpec
from xmodal.errors import UserError
from xmodal.towers.batch_norm import BatchNorm

Activation = Literal["gelu", "relu", "relu6", "silu"]
Norm = Literal["none", "batch", "layer"]


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


def activation(name: Activation) -> nn.Module:
    """The module of an activation's name."""
    modules: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU, "relu6": nn.ReLU6, "silu": nn.SiLU}
    return modules[name]()


def norm(name: Norm, width: int) -> list[nn.Module]:
    """The module of a normalisation's name; none of "none"."""
    modules: dict[str, type[nn.Module]] = {"batch": BatchNorm, "layer": nn.LayerNorm}
    return [] if name == "none" else [modules[name](width)]


class MLP(nn.Sequential):
    """`layers` linear maps; between two of them normalisation, activation, dropout. By default W2 gelu(W1 x + b1) + b2.

    With `norm: batch, activation: relu` it is the projector and the predictor of SimCLR, BYOL (two layers), VICReg and
    Barlow Twins (three). BatchNorm's statistics are those of the batch of all processes.

    Args:
        width: G.
        dim: D; default the spec's, else G.
        spec: as a config gives it, or
        settings: those of the spec by name (`hidden=512`).

    Raises:
        UserError: a residual between unequal widths.
    """

    class Spec(HeadSpec):
        """`dim` left out is the width of the tower on the other side of the pair."""

        dim: Count | None = None
        hidden: Count = 1024  # rows of W1, and of the map after it where there are three
        layers: Annotated[int, Field(ge=1, le=3)] = 2  # linear maps
        norm: Norm = "none"  # after each linear map but the last
        activation: Activation = "gelu"
        dropout: Share = 0.0  # of hidden units, in training
        residual: bool = False  # x is added to the output; D is then G

    def __init__(self, width: int, dim: int | None = None, spec: Spec | None = None, **settings: Any):
        spec = self.Spec.given(spec, settings)
        self.dim = spec.dim or dim or width
        if spec.residual and self.dim != width:
            raise UserError(
                f"head.residual: {width} features cannot be added to {self.dim}; leave dim out, or set residual: false"
            )
        self.residual = spec.residual
        widths = [width, *[spec.hidden] * (spec.layers - 1)]
        found: list[nn.Module] = []  # numbered as they stand here in the weights of every run: do not reorder
        for before, after in itertools.pairwise(widths):
            found += [nn.Linear(before, after), *norm(spec.norm, after), activation(spec.activation)]
            found.append(nn.Dropout(spec.dropout))
        super().__init__(*found, nn.Linear(widths[-1], self.dim))

    def forward(self, features: Tensor) -> Tensor:
        """[B, G] -> [B, D]."""
        found: Tensor = super().forward(features)
        return features + found if self.residual else found


class GLU(nn.Module):
    """A gated MLP, W3 ((W1 x + b1) * act(W2 x + b2)) + b3: the "star" MLP of SAIL (2412.04616), there with ReLU6.

    Args:
        width: G.
        dim: D; default the spec's, else G.
        spec: as a config gives it, or
        settings: those of the spec by name (`hidden=512`).
    """

    class Spec(HeadSpec):
        """`dim` left out is the width of the tower on the other side of the pair."""

        dim: Count | None = None
        hidden: Count = 1024  # rows of W1 and of W2
        activation: Activation = "relu6"
        dropout: Share = 0.0  # of hidden units, in training

    def __init__(self, width: int, dim: int | None = None, spec: Spec | None = None, **settings: Any):
        super().__init__()
        spec = self.Spec.given(spec, settings)
        self.dim = spec.dim or dim or width
        self.linear, self.gate = nn.Linear(width, spec.hidden), nn.Linear(width, spec.hidden)
        self.activation, self.dropout = activation(spec.activation), nn.Dropout(spec.dropout)
        self.project = nn.Linear(spec.hidden, self.dim)

    def forward(self, features: Tensor) -> Tensor:
        """[B, G] -> [B, D]."""
        gated = self.linear(features) * self.activation(self.gate(features))
        found: Tensor = self.project(self.dropout(gated))
        return found


def build_head(spec: HeadSpec, width: int, out_dim: int | None = None) -> nn.Module:
    """The head a spec asks for; where it leaves `dim` out, D is `out_dim`, else G.

    Example:
        build_head(Linear.Spec(), width=144, out_dim=384).dim  # 384
    """
    head: nn.Module = HEADS.find(spec.kind)(width, out_dim, spec)
    return head
