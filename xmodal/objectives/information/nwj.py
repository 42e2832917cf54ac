"""The bound of Nguyen, Wainwright and Jordan on mutual information, f-GAN's for the KL divergence (1606.00709)."""

import math
from typing import Self

from pydantic import model_validator

from xmodal.batch import Embeddings, Loss
from xmodal.config.spec import Positive
from xmodal.distributed import all_sum, world_size
from xmodal.objectives.information.critic import CriticObjective
from xmodal.objectives.objective import About

LARGEST = 80.0  # e^80 is a number in fp32


class NWJ(CriticObjective):
    """`L = -( E_pos T - e^-1 E_neg e^T )`, `T = s a.k`; -L is a lower bound on mutual information.

    Example:
        NWJ()(embeddings, "speech", "text").value.backward()
    """

    class Spec(CriticObjective.Spec):
        """The scale stays small: the loss holds e^T itself."""

        max_scale: Positive = 20.0

        @model_validator(mode="after")
        def _exponential(self) -> Self:
            if self.max_scale > LARGEST:
                raise ValueError(
                    f"max_scale: {self.max_scale:g}: the loss holds e^max_scale, no fp32 number above {LARGEST:g}; "
                    f"expected at most {LARGEST:g}"
                )
            return self

    spec: Spec
    about = About(
        source="1606.00709",
        use="an unbiased bound on mutual information; its variance grows with e^T",
        cost="N x N logits in blocks",
        test="test_bounds.py",
    )

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss; parts: `loss`, `temperature`, `mutual_information` -L in nats."""
        critic = self.critic(embeddings, sides)
        rows = critic.row_logsumexp() - 1 - math.log(max(critic.negatives, 1))  # first: sums of e^T overflow sooner
        share = rows.exp().sum() - critic.joint(critic.positive)
        loss = all_sum(share.detach().reshape(1))[0]
        parts = {"loss": loss, "mutual_information": -loss, "temperature": 1 / critic.scale.detach()}
        return Loss(share * world_size(), parts)
