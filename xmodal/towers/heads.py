"""Heads: from a backbone's features [B, G] to the embedding before normalisation [B, D].

Each is a module with `.dim` (D). Enters: features. Leaves: unnormalised embeddings; `Tower` normalises.
"""

from torch import Tensor, nn

from xmodal.config.towers import Head


class Identity(nn.Module):
    """The features are the embedding: D = G."""

    def __init__(self, width: int):
        super().__init__()
        self.dim = width

    def forward(self, features: Tensor) -> Tensor:
        """`features` as they are [B, G]."""
        return features


class Linear(nn.Linear):
    """W x + b.

    Args:
        width: G.
        dim: D; default G.
    """

    def __init__(self, width: int, dim: int | None = None):
        self.dim = dim or width
        super().__init__(width, self.dim)


class MLP(nn.Sequential):
    """W2 gelu(W1 x + b1) + b2, with dropout after the GELU.

    Args:
        width: G.
        dim: D; default G.
        hidden: rows of W1.
        dropout: share of hidden units dropped in training.
    """

    def __init__(self, width: int, dim: int | None = None, hidden: int = 1024, dropout: float = 0.0):
        self.dim = dim or width
        super().__init__(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, self.dim))


HEADS: dict[str, type[nn.Module]] = {"identity": Identity, "linear": Linear, "mlp": MLP}


def build_head(spec: Head, width: int, out_dim: int | None = None) -> nn.Module:
    """The head a spec asks for; where it leaves `dim` out, D is `out_dim`, else G.

    Example:
        build_head(LinearHead(), width=144, out_dim=384).dim  # 384
    """
    options = spec.model_dump(exclude={"kind"})
    if "dim" in options:
        options["dim"] = options["dim"] or out_dim
    return HEADS[spec.kind](width, **options)
