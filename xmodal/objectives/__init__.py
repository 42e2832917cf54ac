"""Objectives: embeddings in, loss out. Pure torch, usable as a plain library: `CWCL(temperature=0.07)`.

`OBJECTIVES` maps a config's `kind` to its class; `build_objective` makes one from its spec.
"""

from xmodal.config.schema import CWCLSpec, InfoNCESpec
from xmodal.objectives.cwcl import CWCL
from xmodal.objectives.infonce import InfoNCE
from xmodal.objectives.kernels import KERNELS, build_kernel
from xmodal.objectives.objective import Objective

__all__ = ["CWCL", "KERNELS", "OBJECTIVES", "InfoNCE", "Objective", "build_kernel", "build_objective"]

OBJECTIVES: dict[str, type[Objective]] = {"cwcl": CWCL, "infonce": InfoNCE}


def build_objective(spec: InfoNCESpec | CWCLSpec) -> Objective:
    """The objective a spec describes: `kind` picks the class, the other fields are its arguments.

    Example:
        build_objective(CWCLSpec(anchor="both", kernel=PowerKernel(power=4)))
    """
    arguments = {name: getattr(spec, name) for name in type(spec).model_fields if name != "kind"}
    if isinstance(spec, CWCLSpec):
        arguments["kernel"] = build_kernel(spec.kernel)
    return OBJECTIVES[spec.kind](**arguments)
