"""A head that says a vector in a few discrete codes: product quantisation by Gumbel softmax (wav2vec 2.0, 2006.11477).

Axes: B items, G features, V entries of a codebook, W numbers of an entry, D embedding.
"""

from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xmodal.batch import Clock
from xmodal.config.schedule import Number, Schedule, Scheduled, value_at
from xmodal.config.spec import Configured, Count
from xmodal.config.tower import HeadSpec
from xmodal.towers.timed import Timed


class Quantizer(Configured, Timed, nn.Module):
    """One entry of each of several codebooks, side by side, and one linear map: [B, G] -> [B, D].

    Each codebook has V logits, a linear map of the features. In training an entry is drawn by Gumbel softmax, with the
    gradient of the soft choice (straight-through); in evaluation it is that of the largest logit. Codebooks collapse
    to few entries unless a term keeps them in use: `codebook_diversity`.

    Args:
        width: G.
        dim: D; default the spec's, else G.
        spec: as a config gives it, or
        settings: those of the spec by name (`entries=64`).

    Example:
        head = Quantizer(512, 256, groups=2, entries=320)
        head(features)        # [B, 256]
        head.codes(features)  # [B, 2, 320], what `codebook_diversity` looks at
    """

    class Spec(HeadSpec):
        """wav2vec 2.0's: 2 codebooks of 320 entries, 256 numbers in all.

        `temperature` falls as theirs: by the same factor at every step (there 0.999995, which ends at 277,000 steps).
        """

        gives_codes: ClassVar[bool] = True

        dim: Count | None = None
        groups: Count = 2  # codebooks
        entries: Count = 320  # V, of each
        code_width: Count = 128  # W
        temperature: Annotated[Number, Scheduled(gt=0)] = Schedule(schedule="exponential", start=2.0, to=0.5)

    def __init__(self, width: int, dim: int | None = None, spec: "Quantizer.Spec | None" = None, **settings: Any):
        super().__init__()
        self.spec = spec = self.Spec.given(spec, settings)
        self.dim = spec.dim or dim or width
        self.logits = nn.Linear(width, spec.groups * spec.entries)
        self.codebook = nn.Parameter(torch.rand(spec.groups, spec.entries, spec.code_width))
        self.project = nn.Linear(spec.groups * spec.code_width, self.dim)
        nn.init.normal_(self.logits.weight)
        nn.init.zeros_(self.logits.bias)
        self.at(Clock())

    def at(self, clock: Clock) -> None:
        """The temperature of this step."""
        self.temperature = value_at(self.spec.temperature, clock)

    def forward(self, features: Tensor) -> Tensor:
        """[B, G] -> [B, D]."""
        return self.project(self.quantized(features))

    def quantized(self, features: Tensor) -> Tensor:
        """The entries chosen, side by side [B, groups * W]."""
        logits = self._logits(features)
        chosen = F.gumbel_softmax(logits, tau=self.temperature, hard=True) if self.training else _largest(logits)
        return torch.einsum("bgv,gvw->bgw", chosen.to(self.codebook.dtype), self.codebook).flatten(1)

    def codes(self, features: Tensor) -> Tensor:
        """How likely each entry is [B, groups, V], without noise or temperature; in evaluation the one chosen."""
        logits = self._logits(features)
        return logits.softmax(-1) if self.training else _largest(logits)

    def _logits(self, features: Tensor) -> Tensor:
        """[B, groups, V], in fp32 at least."""
        found = self.logits(features).unflatten(-1, (self.spec.groups, self.spec.entries))
        return found.to(torch.promote_types(found.dtype, torch.float32))


def _largest(logits: Tensor) -> Tensor:
    """1 at the largest of each row, else 0."""
    return torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
