"""MoCo v3: a predictor and a momentum target, with the batch's other items as negatives (2104.02057, algorithm 1)."""

from typing import Annotated

import torch
from torch import Tensor

from xmodal.batch import Embeddings, Loss
from xmodal.config.schedule import Number, Scheduled
from xmodal.objectives.engine.masked_rows import masked_row_logsumexp
from xmodal.objectives.objective import About, ScaledObjective
from xmodal.objectives.online.directions import PredictiveSpec, predicted_and_key, predictive_loss


class MoCoV3(ScaledObjective):
    """`L = -2 tau mean_i log( exp(q_i.k_i / tau) / sum_j exp(q_i.k_j / tau) )`, q predictions, k momentum targets.

    On one side both of its training views are queries of each other's keys, and the two directions are added. On two
    sides the first queries the target of the second; where the second never changes it is its own target. `symmetric`
    says otherwise. Items equal to the anchor's are left out of the sum over j.

    Example:
        e = Embeddings.of(image=[z1, z2], predicted={"image": [p1, p2]}, target={"image": [k1, k2]})
        MoCoV3(temperature=0.2)(e, "image").value.backward()
    """

    class Spec(PredictiveSpec, ScaledObjective.Spec):
        """The paper's temperature is fixed."""

        temperature: Annotated[Number, Scheduled(gt=0)] = 0.2
        learnable: bool = False

    spec: Spec
    about = About(
        source="2104.02057",
        use="as NT-Xent, with a slow copy of the tower: large batches, transformers; two sides: beside another term",
        cost="logits of N x N in blocks for each direction; a second view, the target's forward pass",
        test="test_predictive.py",
    )

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss; parts: `loss`, `temperature`, `spread`."""
        scale = self.logit_scale(embeddings.clock).reshape(())
        same, index = embeddings.same(*sides), torch.arange(len(embeddings), device=embeddings.ids.device)
        index = index[embeddings.local]
        pairs = []
        for query, key in self.spec.directions(*sides):
            q, k = predicted_and_key(embeddings, query, key, self.spec.keys)
            s = scale.to(k.dtype)

            def hidden(at: slice, k: Tensor = k) -> Tensor:
                return same.fill(k.new_zeros(len(index[at]), len(k)), index[at], 1.0).bool()

            positives = s * (q * k[embeddings.local]).sum(1)
            others = masked_row_logsumexp(q, k, s, hidden)
            share = (torch.logaddexp(positives, others) - positives).sum()
            pairs.append((2 / s * share, k))
        loss = predictive_loss(embeddings, pairs, self.spec.reduction)
        return Loss(loss.value, loss.parts | {"temperature": 1 / scale.detach()})
