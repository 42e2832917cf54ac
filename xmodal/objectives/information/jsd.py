"""Deep InfoMax's Jensen-Shannon estimator (1808.06670)."""

from xmodal.batch import Embeddings, Loss
from xmodal.distributed import world_size
from xmodal.objectives.information.critic import CriticObjective
from xmodal.objectives.objective import About


class JSD(CriticObjective):
    """`L = E_pos softplus(-T) + E_neg softplus(T)`, `T = s a.k`: between joint and product, as a divergence.

    Example:
        JSD()(embeddings, "speech", "text").value.backward()
    """

    about = About(
        source="1808.06670",
        use="a bound that stays even with few negatives, where InfoNCE's cannot pass log N",
        cost="N x N logits in blocks",
        test="test_bounds.py",
    )

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss; parts: `loss`, `temperature`, and in nats `divergence` and `mutual_information`.

        `divergence` is log 2 - L/2, a lower bound on the Jensen-Shannon divergence of joint and product;
        `mutual_information` the Donsker-Varadhan bound that the same critic gives.
        """
        critic = self.critic(embeddings, sides)
        share, parts = critic.jensen_shannon()
        return Loss(share * world_size(), parts | {"temperature": 1 / critic.scale.detach()})
