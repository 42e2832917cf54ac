"""SupCon (Khosla et al. 2020, 2004.11362): items of one label attract each other."""

from typing import Annotated

import torch
from pydantic import Field

from xmodal.distributed import all_sum, world_size
from xmodal.objectives import Embeddings, Loss, Need, ScaledObjective


class SupCon(ScaledObjective):
    """`-mean_i (1 / |P_i|) sum_{p in P_i} log softmax_j(s a_i.k_j)_p`, P_i: the items of i's label, i itself too."""

    class Spec(ScaledObjective.Spec):
        """Settings."""

        smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of the mass that goes to every item alike

        def needs(self, *sides):
            """Labels."""
            return [Need("labels")]

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss of the first side against the second."""
        a, k = embeddings.z(sides[0])[embeddings.local], embeddings.z(sides[1])
        index, n = torch.arange(len(k))[embeddings.local], len(k)
        same = embeddings.same("label").fill(torch.zeros(len(a), n), index, 1.0)
        T = torch.lerp(same / same.sum(1, keepdim=True), torch.full_like(same, 1 / n), self.spec.smoothing)
        logits = self.logit_scale(embeddings.clock) * a @ k.T
        share = -(T * logits.log_softmax(1)).sum() / n
        return Loss(share * world_size(), {"loss": all_sum(share.detach().reshape(1))[0]})
