"""Objectives: embeddings in, loss out. Pure torch, usable as a plain library: `CWCL(temperature=0.07)`.

`OBJECTIVES` maps a config's `kind` to its class; `build_objective` makes one from its spec.
"""

from collections.abc import Mapping

from xmodal.config.objectives import CWCLSpec, InfoNCESpec, SigLIPSpec
from xmodal.objectives.cwcl import CWCL
from xmodal.objectives.engine.key_bank import KeyBank
from xmodal.objectives.infonce import InfoNCE
from xmodal.objectives.kernels import KERNELS, ONE_HOT, build_kernel
from xmodal.objectives.objective import NO_BANKS, Objective, SoftmaxObjective
from xmodal.objectives.siglip import SigLIP

__all__ = [
    "CWCL",
    "KERNELS",
    "OBJECTIVES",
    "InfoNCE",
    "KeyBank",
    "Objective",
    "SigLIP",
    "build_kernel",
    "build_objective",
]

OBJECTIVES: dict[str, type[Objective]] = {"cwcl": CWCL, "infonce": InfoNCE, "siglip": SigLIP}


def build_objective(spec: InfoNCESpec | CWCLSpec | SigLIPSpec, banks: Mapping[str, KeyBank] = NO_BANKS) -> Objective:
    """The objective a spec describes: `kind` picks the class, the other fields are its arguments.

    `banks` holds the stores' keys by frozen modality, for objectives over a whole store.

    Example:
        build_objective(CWCLSpec(anchor="both", kernel=PowerKernel(power=4)))
    """
    arguments = {name: getattr(spec, name) for name in type(spec).model_fields if name != "kind"}
    if isinstance(spec, CWCLSpec | SigLIPSpec):
        arguments["kernel"] = build_kernel(spec.kernel) if spec.kernel is not None else ONE_HOT
    if issubclass(OBJECTIVES[spec.kind], SoftmaxObjective):
        arguments["banks"] = banks
    return OBJECTIVES[spec.kind](**arguments)
