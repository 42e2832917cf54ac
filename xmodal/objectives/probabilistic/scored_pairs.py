"""What the losses on single scored pairs share: scores, their scale, and who is compared with whom."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from xmodal.batch import Embeddings
from xmodal.objectives.engine.comparisons import Comparison, PairOrViews, across
from xmodal.objectives.engine.masked_rows import by_row_blocks
from xmodal.objectives.engine.scores import Score, Scores
from xmodal.objectives.objective import ScaledObjective


class PairSums(NamedTuple):
    """Sums over this process's anchors, with gradient."""

    own: Tensor  # [] of softplus(-l) over the pairs themselves
    equal: Tensor  # [] of softplus(-l) over the other keys of the same item
    negative: Tensor  # [] of softplus(l) over the negatives


class ScoredPairsObjective(ScaledObjective):
    """Base of `nce` and `bce`: a logit for each pair of the batch, made of a score."""

    class Spec(PairOrViews, ScaledObjective.Spec):
        """The score; of two sides, or of two views of one."""

        score: Score = "cosine"

    spec: Spec

    def __init__(self, spec: Any = None, **settings: Any) -> None:
        super().__init__(spec, **settings)
        self.scores = Scores(self.spec.score)

    def prepare(self, groups: Sequence[tuple[str, ...]], dims: Mapping[str, int]) -> None:
        """The matrices of a bilinear score."""
        self.scores.prepare(groups, dims)

    def compared(self, embeddings: Embeddings, sides: Sequence[str]) -> Comparison:
        """Own rows of the first side, or view, against the second."""
        a, k = self.scores.embedded(embeddings, *sides)
        return across(a, k, embeddings.same(*sides), embeddings.local)

    def sums(self, seen: Comparison, scale: Tensor, bias: Tensor) -> PairSums:
        """Of logits l = scale score + bias, in blocks."""
        own = torch.nn.functional.softplus(-scale * self.scores.pairs(seen.anchors, seen.keys[seen.items]) - bias)

        def rows(at: slice) -> Tensor:
            logits = scale * self.scores.block(seen.anchors[at], seen.keys) + bias
            alike = seen.alike(at)
            pull = torch.nn.functional.softplus(-logits).where(alike, 0).sum(1)
            push = torch.nn.functional.softplus(logits).masked_fill(alike, 0).sum(1)
            return torch.stack([pull, push], dim=1)

        pull, push = by_row_blocks(rows, len(own), len(seen.keys)).sum(0)
        return PairSums(own.sum(), pull - own.sum(), push)
