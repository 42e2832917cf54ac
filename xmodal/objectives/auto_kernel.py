"""`kernel: {kind: auto}`: a kernel that training chooses before it begins, on a dev split.

How it is chosen: `xmodal/training/kernel_choice/`, docs/objectives/softmax/cwcl.md. Here is what a config says of it.
The kernel chosen takes its place in the run's config, so no objective ever computes with this one.
"""

import re
from typing import Annotated, Self

from pydantic import Field, model_validator
from torch import Tensor

from xmodal.config.kinds import KERNELS
from xmodal.config.spec import Count, Share
from xmodal.errors import UserError
from xmodal.objectives.kernels import Affine, Exp, Kernel, OneHot, Perplexity, Power, TopK

CANDIDATES: tuple[Kernel, ...] = (
    Affine(),
    Power(power=2),
    Power(power=4),
    Exp(temperature=0.1),
    TopK(k=8),
    Perplexity(perplexity=4),
    Perplexity(perplexity=8),
    Perplexity(perplexity=16),
    Perplexity(perplexity=8, identity_mix=0.5),
)


def name_of_kernel(kernel: Kernel) -> str:
    """What a kernel is called: its kind, its settings, and what differs from the rest.

    Example:
        name_of_kernel(Perplexity(perplexity=8, identity_mix=0.5))  # "perplexity 8, mix 0.5"
    """
    settings = kernel.model_dump(exclude={"kind", "centre", "identity_mix"})
    told = [f"{value:g}" if isinstance(value, int | float) else str(value) for value in settings.values()]
    more = [", centred"] * kernel.centre + [f", mix {kernel.identity_mix:g}"] * (kernel.identity_mix > 0)
    return " ".join([kernel.kind, *told]) + "".join(more)


def folder_of_kernel(kernel: Kernel) -> str:
    """The same as the name of a folder."""
    return re.sub(r"[^\w.]+", "_", name_of_kernel(kernel))


class Auto(Kernel):
    """The best of `candidates` by a short run each, if it beats one-hot targets on `dev`; else one-hot.

    Candidates whose targets are almost one-hot, or almost uniform, are left out before anything trains.

    Example:
        {"kind": "cwcl", "kernel": {"kind": "auto", "dev": "dev/accuracy_mean", "steps": 200}}
    """

    dev: str = ""  # EVALUATOR, or EVALUATOR/METRIC: what the choice is made on, which is then no test
    steps: Count = 100  # of each short run
    candidates: Annotated[tuple[Annotated[Kernel, KERNELS], ...], Field(min_length=1)] = CANDIDATES
    least_spread: Share = 0.02  # of the target mass on other items; with less a candidate is almost one-hot
    most_uniform: Share = 0.9  # effective positives, of the batch; with more a candidate is almost uniform

    @model_validator(mode="after")
    def _candidates(self) -> Self:
        if self.centre or self.identity_mix:
            raise ValueError("centre and identity_mix belong to the candidates; set them there")
        if any(isinstance(kernel, Auto | OneHot) for kernel in self.candidates):
            raise ValueError("candidates: one_hot is always compared with, and auto is none; leave them out")
        names = [folder_of_kernel(kernel) for kernel in self.candidates]
        twice = [name for at, name in enumerate(names) if name in names[:at]]
        if twice:
            raise ValueError(f"candidates: {twice[0]} is there twice; name it once")
        return self

    def weights(self, cosine: Tensor) -> Tensor:
        """None: a kernel must be chosen first."""
        raise UserError("kernel: auto is chosen when a run begins (xmodal train); here, name the kernel itself")
