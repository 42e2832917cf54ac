"""Kernels and objectives: what a config may say of them. Imports no torch."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from xmodal.config.spec import Count, Positive, Share, Spec


class KernelSpec(Spec):
    """What every kernel shares: `centre` subtracts the mean guide feature first, `identity_mix` blends in one-hot."""

    centre: bool = False
    identity_mix: Share = 0.0


class AffineKernel(KernelSpec):
    """(1 + cos) / 2, the paper's CWCL weights."""

    kind: Literal["affine"] = "affine"


class PowerKernel(KernelSpec):
    """relu(cos) ** power."""

    kind: Literal["power"] = "power"
    power: Positive = 4.0


class ExpKernel(KernelSpec):
    """exp((cos - 1) / temperature)."""

    kind: Literal["exp"] = "exp"
    temperature: Positive = 0.1


class SoftmaxKernel(KernelSpec):
    """softmax(cos / temperature) along the row (X-CLR's targets)."""

    kind: Literal["softmax"] = "softmax"
    temperature: Positive = 0.1


class TopKKernel(KernelSpec):
    """Equal weight on the k most similar items."""

    kind: Literal["top_k"] = "top_k"
    k: Count = 8


class ThresholdKernel(KernelSpec):
    """Equal weight on the items whose cosine reaches the threshold (SimCon)."""

    kind: Literal["threshold"] = "threshold"
    threshold: float = Field(0.8, gt=-1, le=1)


class PerplexityKernel(KernelSpec):
    """Softmax whose temperature is set per row so that exp(entropy) = perplexity."""

    kind: Literal["perplexity"] = "perplexity"
    perplexity: float = Field(8.0, gt=1)


Kernel = Annotated[
    AffineKernel | PowerKernel | ExpKernel | SoftmaxKernel | TopKKernel | ThresholdKernel | PerplexityKernel,
    Field(discriminator="kind"),
]


class ObjectiveSpec(Spec):
    """What every objective shares. The logit scale starts at 1 / temperature."""

    temperature: Positive = 0.07
    learnable: bool = True
    max_scale: Positive = 100.0


class SoftmaxSpec(ObjectiveSpec):
    """What the softmax losses share."""

    reduction: Literal["mean", "sum"] = "mean"  # over the two directions
    keys: Literal["batch", "store"] = "batch"  # the trainable anchors' negatives: the batch, or the whole store


class InfoNCESpec(SoftmaxSpec):
    """CLIP's symmetric loss."""

    kind: Literal["infonce"] = "infonce"


class CWCLSpec(SoftmaxSpec):
    """Continuously weighted contrastive loss: `anchor` names the weighted direction(s)."""

    kind: Literal["cwcl"] = "cwcl"
    kernel: Kernel = AffineKernel()
    anchor: Literal["trainable", "frozen", "both"] = "trainable"
    scope: Literal["batch", "store"] = "batch"  # where a trainable anchor's targets lie

    @model_validator(mode="after")
    def _scope(self) -> Self:
        if self.scope == "store" and self.anchor != "trainable":
            raise ValueError(f"scope: store goes with anchor trainable, found anchor {self.anchor}")
        return self


class SigLIPSpec(ObjectiveSpec):
    """SigLIP's pairwise sigmoid loss; a kernel weights it by the frozen side's similarities."""

    kind: Literal["siglip"] = "siglip"
    temperature: Positive = 0.1
    bias: float = -10.0  # where the learnable bias starts
    kernel: Kernel | None = None  # none: 1 on pairs and equal items


Objective = Annotated[InfoNCESpec | CWCLSpec | SigLIPSpec, Field(discriminator="kind")]
