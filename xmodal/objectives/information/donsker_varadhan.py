"""The Donsker-Varadhan bound on mutual information, MINE's (1801.04062)."""

from xmodal.batch import Embeddings, Loss
from xmodal.distributed import all_sum, world_size
from xmodal.objectives.information.critic import CriticObjective
from xmodal.objectives.objective import About


class DonskerVaradhan(CriticObjective):
    """`L = -( E_pos T - log E_neg e^T )`, `T = s a.k`. -L is a lower bound on mutual information where the expectations
    are exact; of one batch it is an estimate, which may lie above.

    Example:
        DonskerVaradhan()(embeddings, "speech", "text").value.backward()
    """

    about = About(
        source="1801.04062",
        use="an estimate of mutual information that log N does not limit; large batches",
        cost="N x N logits in blocks",
        test="test_bounds.py",
    )

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss; parts: `loss`, `temperature`, `mutual_information` -L in nats."""
        critic = self.critic(embeddings, sides)
        mean = critic.joint(critic.positive)
        log_mean = critic.log_mean_exp(critic.row_logsumexp())  # of the whole batch, on every process
        loss = log_mean.detach() - all_sum(mean.detach().reshape(1))[0]
        parts = {"loss": loss, "mutual_information": -loss, "temperature": 1 / critic.scale.detach()}
        return Loss(log_mean - mean * world_size(), parts)
