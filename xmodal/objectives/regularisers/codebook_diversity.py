"""Codebook diversity: every entry of a quantizer's codebooks in use (wav2vec 2.0, 2006.11477, equation 4)."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from xmodal.batch import Embeddings, Loss
from xmodal.distributed import all_sum
from xmodal.objectives.engine.tiles import sum_type
from xmodal.objectives.objective import About, Need, Objective


def perplexity(mean: Tensor) -> Tensor:
    """`exp(-sum_v p_gv log p_gv)` [groups], between 1 and V, of probabilities p [groups, V]."""
    return torch.special.entr(mean).sum(-1).exp()


class CodebookDiversity(Objective):
    """`(G V - sum_g exp(H(p_g))) / (G V)`, p_g the batch's mean of the softmax of codebook g's logits.

    0 where the batch uses all V entries of all G codebooks alike. The softmax is without Gumbel noise and temperature.
    For a side with a `quantizer` head, beside another term.

    Example:
        CodebookDiversity()(Embeddings.of(speech=z, codes={"speech": head.codes(features)}), "speech").value.backward()
    """

    class Spec(Objective.Spec):
        """The form; wav2vec 2.0's `weight` is 0.1."""

        # perplexity, as above; entropy: `-(1/GV) sum_g H(p_g)`, the paper's equation, which its code replaces by that
        form: Literal["perplexity", "entropy"] = "perplexity"
        takes: ClassVar[tuple[int, int]] = (1, 1)

        def needs(self, *sides: str) -> Sequence[Need]:
            """A head with codebooks."""
            return [Need("codes", sides[0])]

    spec: Spec
    about = About(
        source="2006.11477",
        use="beside another term, for a side with a `quantizer` head: its codebooks collapse without it",
        cost="a sum of groups x entries numbers over the batch",
    )

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss; parts: `loss`, `perplexity_1` and so on of each codebook, over the whole batch."""
        codes = embeddings.codes(sides[0])  # [n, G, V]
        codes = codes.to(sum_type(codes))
        mean = all_sum(codes.sum(0)) / max(len(embeddings), 1)  # its backward pass sums over processes: no factor W
        found = perplexity(mean)
        if self.spec.form == "perplexity":
            value = 1 - found.sum() / mean.numel()
        else:
            value = -torch.special.entr(mean).sum() / mean.numel()
        parts = {f"perplexity_{group}": one for group, one in enumerate(found.detach(), 1)}
        return Loss(value, {"loss": value.detach(), **parts})
