"""Distillation: the targets are what a frozen dual encoder, the teacher, makes of the same batch."""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from xmodal.batch import Embeddings, Loss
from xmodal.config.schedule import Number, Scheduled, value_at
from xmodal.config.spec import Share
from xmodal.errors import UserError
from xmodal.objectives.directions import Direction, directions_loss
from xmodal.objectives.engine.tiles import sum_type
from xmodal.objectives.functional import Reduction
from xmodal.objectives.kernels import ONE_HOT
from xmodal.objectives.objective import About, Need, ScaledObjective


class Distillation(ScaledObjective):
    """`L = -mean_i sum_j T_ij log softmax_j(s a_i.k_j)`, `T_ij = softmax_j(u_i.v_j / teacher_temperature)`, both ways.

    u and v are the teacher's embeddings of the two sides, each direction with a softmax of its own over the teacher's
    logits (knowledge distillation, 1503.02531, of cross-modal similarities: CLIP-KD's contrastive relational
    distillation, 2307.12732, without its KL's constant; open_clip's DistillClipLoss). `identity_mix` m puts
    `(1 - m) T + m E` in the place of T, with E the one-hot targets, which equal items share.

    Example:
        e = Embeddings.of(image=a, text=k, teacher={"image": u, "text": v})
        Distillation(teacher_temperature=0.01)(e, "image", "text").value.backward()
    """

    class Spec(ScaledObjective.Spec):
        """How sharp the teacher is, and how much of its word counts."""

        teacher_temperature: Annotated[Number, Scheduled(gt=0)] = 0.01  # CLIP's own, where its training ends
        identity_mix: Share = 0.0  # share of one-hot targets
        reduction: Reduction = "mean"  # over the two directions

        def needs(self, *sides: str) -> Sequence[Need]:
            """A teacher of both sides."""
            return [Need("teacher", side) for side in sides]

    spec: Spec
    about = About(
        source="1503.02531, 2307.12732",
        use="a strong dual encoder of the same modalities exists; towers that are smaller, or see other inputs",
        cost="twice InfoNCE's logits and the teacher's beside them, in blocks; the teacher runs once, into a store",
    )

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss; parts as `directions_loss` has them: `kl` is the distance to the targets."""
        a, k = (embeddings.z(side) for side in sides)
        u, v = (embeddings.teacher(side).detach() for side in sides)
        if u.shape[1] != v.shape[1]:
            raise UserError(
                f"teachers.{sides[0]}: embeddings of {u.shape[1]} numbers cannot be compared with the {v.shape[1]} of "
                f"teachers.{sides[1]}; name the two sides of one dual encoder"
            )
        dtype = sum_type(u, v)
        u, v = u.to(dtype), v.to(dtype)
        same, mix = embeddings.same(*sides), self.spec.identity_mix
        temperature = value_at(self.spec.teacher_temperature, embeddings.clock)

        def rows(anchors: Tensor, keys: Tensor, index: Tensor) -> Tensor:
            T = (anchors[index] @ keys.T / temperature).softmax(1)
            return torch.lerp(T, ONE_HOT.rows(anchors, same, index), mix) if mix else T

        directions = [
            Direction(a, k, lambda index: rows(u, v, index)),
            Direction(k, a, lambda index: rows(v, u, index)),
        ]
        return directions_loss(embeddings, self.logit_scale(embeddings.clock), directions, self.spec.reduction)
