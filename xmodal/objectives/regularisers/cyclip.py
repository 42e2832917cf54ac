"""CyCLIP: similarities that are the same within both sides, and the same in both directions (2205.14459)."""

from typing import Annotated

from xmodal.batch import Embeddings, Loss
from xmodal.config.schedule import Number, Scheduled, value_at
from xmodal.objectives.objective import About, Objective
from xmodal.objectives.regularisers.batch_statistics import own_pair, product


class CyCLIP(Objective):
    """`L = in_modal (1/N) |A A^T - K K^T|^2 + cross_modal (1/N) |A K^T - K A^T|^2`, squared Frobenius norms.

    A term beside InfoNCE. No N x N matrix is made: with P = A - K, Q = A + K, `S = sum (P^T P) (Q^T Q)` and
    `C = sum (Q^T P) (P^T Q)`, element by element, the norms are (S + C) / 2 and (S - C) / 2. As P vanishes where the
    sides agree, nothing is lost to rounding there.

    Example:
        CyCLIP()(Embeddings.of(image=a, text=k), "image", "text").value.backward()
    """

    class Spec(Objective.Spec):
        """The weights of the two parts, numbers or their schedules."""

        in_modal: Annotated[Number, Scheduled(ge=0)] = 0.25
        cross_modal: Annotated[Number, Scheduled(ge=0)] = 0.25

    spec: Spec
    about = About(
        source="2205.14459",
        use="beside InfoNCE, where a nearest neighbour should be one within and across the sides",
        cost="three D x D products: O(N D^2) time, O(N D + D^2) memory",
    )

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss; parts: `loss`, and `in_modal` and `cross_modal` without their weights."""
        a, k = own_pair(embeddings, "z", sides)
        p, q = a - k, a + k
        mixed = product(q, p)
        s, c = (product(p, p) * product(q, q)).sum(), (mixed * mixed.T).sum()
        n = max(len(embeddings), 1)
        in_modal, cross_modal = (s + c) / (2 * n), (s - c) / (2 * n)
        weights = (value_at(w, embeddings.clock) for w in (self.spec.in_modal, self.spec.cross_modal))
        value = next(weights) * in_modal + next(weights) * cross_modal
        parts = {"loss": value, "in_modal": in_modal, "cross_modal": cross_modal}
        return Loss(value, {name: part.detach() for name, part in parts.items()})
