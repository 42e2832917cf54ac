"""Specs and constructors agree: same names, same defaults, same kinds."""

import inspect

import pytest
from pydantic_core import PydanticUndefined

from xmodal.config import objectives as specs
from xmodal.objectives import KERNELS, OBJECTIVES, SigLIP, build_kernel, build_objective
from xmodal.objectives.kernels import ONE_HOT

OBJECTIVE_SPECS = [specs.InfoNCESpec, specs.CWCLSpec, specs.SigLIPSpec]
KERNEL_SPECS = [
    specs.AffineKernel,
    specs.PowerKernel,
    specs.ExpKernel,
    specs.SoftmaxKernel,
    specs.TopKKernel,
    specs.ThresholdKernel,
    specs.PerplexityKernel,
]


def fields(spec):
    found = {name: field.default for name, field in spec.model_fields.items() if name != "kind"}
    assert PydanticUndefined not in found.values()
    return {name: build_kernel(v) if isinstance(v, specs.KernelSpec) else v for name, v in found.items()}


def arguments(cls):
    found = {name: p.default for name, p in inspect.signature(cls).parameters.items()}
    found.pop("banks", None)  # data, not settings
    if cls is SigLIP:
        assert found["kernel"] is ONE_HOT
        found["kernel"] = None  # in a config: no kernel
    return found


@pytest.mark.parametrize("spec", OBJECTIVE_SPECS)
def test_objective_arguments_are_the_specs_fields(spec):
    assert arguments(OBJECTIVES[spec().kind]) == fields(spec)


@pytest.mark.parametrize("spec", KERNEL_SPECS)
def test_kernel_arguments_are_the_specs_fields(spec):
    assert arguments(KERNELS[spec().kind]) == fields(spec)


def test_every_kind_is_registered():
    assert set(OBJECTIVES) == {s().kind for s in OBJECTIVE_SPECS}
    assert set(KERNELS) == {s().kind for s in KERNEL_SPECS}


def test_what_is_built_is_what_was_asked():
    spec = specs.CWCLSpec(
        kernel=specs.PowerKernel(power=3, centre=True),
        anchor="both",
        temperature=0.1,
        learnable=False,
        reduction="sum",
    )
    built = build_objective(spec)
    assert built.kernel == build_kernel(spec.kernel)
    assert (built.kernel.power, built.kernel.centre) == (3, True)
    assert (built.anchor, built.reduction, built.max_scale) == ("both", "sum", 100.0)
    assert float(built.logit_scale()) == pytest.approx(10)
    assert not built.log_scale.requires_grad
