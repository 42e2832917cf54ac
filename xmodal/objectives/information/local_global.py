"""Local-global Deep InfoMax: each frame or patch is told whose whole it belongs to (1808.06670)."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from xmodal.batch import Embeddings, Loss
from xmodal.distributed import all_sum, world_size
from xmodal.objectives.engine.comparisons import Comparison
from xmodal.objectives.engine.masked_rows import masked_row_logsumexp
from xmodal.objectives.engine.tiles import sum_type
from xmodal.objectives.information.critic import Critic, CriticObjective
from xmodal.objectives.objective import About, Need


class LocalGlobal(CriticObjective):
    """`L = mean_i mean_t softplus(-T_iti) + mean_ij mean_t softplus(T_itj)`, `T_itj = s l_it.g_j`, j not of item i.

    l_it is step t of item i as the head over sequences pools it, under a linear map, of unit norm; g_j the embedding of
    item j: of the same side, or of the second of two. `bound: infonce` tells i from all j by a softmax.

    Example:
        steps = {"speech": Frames(h, lengths)}  # [n, T, W] of this process's rows
        LocalGlobal()(Embeddings.of(speech=z, sequence=steps), "speech").value.backward()
    """

    class Spec(CriticObjective.Spec):
        """The bound."""

        bound: Literal["jsd", "infonce"] = "jsd"
        takes: ClassVar[tuple[int, int]] = (1, 2)

        def needs(self, *sides: str) -> Sequence[Need]:
            """The first side's steps."""
            return [Need("sequence", sides[0])]

    spec: Spec
    about = About(
        source="1808.06670",
        use="beside another term: every frame or patch should say what the whole item does",
        cost="logits of all steps x N in blocks; the steps of the batch in memory",
    )

    def __init__(self, spec: Any = None, **settings: Any) -> None:
        super().__init__(spec, **settings)
        self.maps = nn.ModuleDict()  # side -> W to D
        self._widths: dict[str, int] = {}

    def prepare_sequences(self, widths: Mapping[str, int]) -> None:
        """Note W of the sides whose steps are seen."""
        self._widths = dict(widths)

    def prepare(self, groups: Sequence[tuple[str, ...]], dims: Mapping[str, int]) -> None:
        """The linear maps of the steps."""
        for sides in groups:
            if sides[0] in self._widths and sides[0] not in self.maps:
                self.maps[sides[0]] = nn.Linear(self._widths[sides[0]], dims[sides[0]])

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss; parts: `loss`, `temperature`, and `mutual_information` in nats, between a step and an embedding.

        That is the critic's Donsker-Varadhan bound; with `bound: infonce` log N - L.
        """
        steps, first, whole = embeddings.sequence(sides[0]), embeddings.z(sides[0]), embeddings.z(sides[-1])
        dtype = sum_type(steps.values, whole)
        items = torch.arange(len(embeddings), device=whole.device)[embeddings.local]
        mask = steps.mask()
        local = normalize(self._mapped(sides[0], steps.values[mask], whole.shape[1]).to(dtype), dim=-1)  # [P, D]
        of = mask.nonzero()[:, 0]  # [P] the row of each step
        seen = Comparison(local, whole.to(dtype), items[of], embeddings.same(*sides))
        critic = Critic(
            seen, self.logit_scale(embeddings.clock).reshape(()).to(dtype), (1 / steps.lengths.to(dtype))[of]
        )
        share, parts = critic.jensen_shannon() if self.spec.bound == "jsd" else _infonce(critic)
        untouched = first[:0].sum()  # of two sides: DDP waits for a gradient of all that made it
        parts["temperature"] = 1 / critic.scale.detach()
        return Loss((share + untouched) * world_size(), parts)

    def _mapped(self, side: str, steps: Tensor, dim: int) -> Tensor:
        """Steps [P, W] -> [P, D]."""
        if side not in self.maps:  # where nothing was prepared
            self.maps[side] = nn.Linear(steps.shape[1], dim).to(steps)
        mapped: Tensor = self.maps[side](steps.to(self.maps[side].weight.dtype))  # type: ignore[arg-type]
        return mapped


def _infonce(critic: Critic) -> tuple[Tensor, dict[str, Tensor]]:
    """The share of `-mean log( e^T_iti / (e^T_iti + sum_j e^T_itj) )`, and its parts."""
    seen = critic.seen

    def hidden(at: slice) -> Tensor:
        alike = seen.alike(at)
        alike[torch.arange(len(alike), device=alike.device), seen.items[at]] = False
        return alike

    share = critic.joint(masked_row_logsumexp(seen.anchors, seen.keys, critic.scale, hidden) - critic.positive)
    loss = all_sum(share.detach().reshape(1))[0]
    return share, {"loss": loss, "mutual_information": loss.new_tensor(critic.items).log() - loss}
