"""An objective's settings stand once, in its spec: names, defaults, ranges, the same from a config and from Python."""

import pytest

from xmodal.batch import Clock
from xmodal.config.kinds import KERNELS, OBJECTIVES
from xmodal.config.schedule import Schedule
from xmodal.errors import UserError
from xmodal.objectives import CWCL, InfoNCE, NTXent, SigLIP
from xmodal.objectives.kernels import Affine, Exp, Power


@pytest.mark.parametrize("kind", OBJECTIVES.own)
def test_every_objective_is_built_from_its_own_defaults(kind):
    spec = OBJECTIVES.spec(kind)()
    assert spec.kind == kind
    assert OBJECTIVES.build(spec).spec is spec
    assert spec.weight == 1.0
    assert spec.on is None


@pytest.mark.parametrize("kind", KERNELS.own)
def test_every_kernel_is_its_own_spec(kind):
    kernel = KERNELS.spec(kind).model_validate({"kind": kind})
    assert kernel.kind == kind
    assert kernel.identity_mix == 0


def test_a_spec_made_in_python_names_its_kind():
    assert (CWCL.Spec().kind, Power().kind, Exp().kind) == ("cwcl", "power", "exp")


def test_what_is_built_is_what_was_asked():
    built = CWCL(kernel=Power(power=3, centre=True), anchor="both", temperature=0.1, learnable=False, reduction="sum")
    assert (built.spec.kernel.power, built.spec.kernel.centre) == (3, True)
    assert (built.spec.anchor, built.spec.reduction, built.spec.max_scale) == ("both", "sum", 100.0)
    assert float(built.logit_scale(Clock())) == pytest.approx(10)
    assert not built.log_scale.requires_grad
    assert CWCL().spec.kernel == Affine()
    assert CWCL(kernel={"kind": "softmax", "temperature": 0.2}).spec.kernel == Exp(kind="softmax", temperature=0.2)


def test_a_temperature_may_follow_a_schedule():
    objective = NTXent(temperature={"schedule": "linear", "from": 0.5, "to": 0.1})
    scales = [float(objective.logit_scale(Clock(step, 5))) for step in range(5)]
    assert scales == pytest.approx([1 / 0.5, 1 / 0.4, 1 / 0.3, 1 / 0.2, 1 / 0.1])
    with pytest.raises(UserError, match=r"CWCL: temperature: .* learnable: false"):
        CWCL(temperature=Schedule(schedule="linear", start=0.5, to=0.1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CWCL(temperatur=0.1), r"CWCL: temperatur: unknown key; did you mean temperature\?"),
        (lambda: CWCL(temperature=-1), r"CWCL: temperature: -1 must be greater than 0"),
        (lambda: CWCL(kernel={"kind": "powr"}), r"CWCL: kernel\.kind: 'powr' is not one of .*did you mean power\?"),
        (lambda: CWCL(kernel={"kind": "power", "power": -2}), r"CWCL: kernel\.power: -2 must be greater than 0"),
        (lambda: InfoNCE(reduction="max"), r"InfoNCE: reduction: 'max' is not one of mean, sum"),
        (
            lambda: SigLIP(weight={"schedule": "cosine", "from": 1, "to": -1}),
            r"SigLIP: weight: to: -1 must be at least",
        ),
        (lambda: SigLIP(weight={"schedule": "cosin", "to": 1}), r"SigLIP: weight\.schedule: 'cosin' .* cosine\?"),
        (lambda: SigLIP(weight={"schedule": "linear"}), r"SigLIP: weight: schedule: linear needs `to`"),
        (lambda: CWCL(InfoNCE.Spec()), r"CWCL: expected a CWCL\.Spec"),
    ],
)
def test_a_setting_that_cannot_be_is_one_line(make, message):
    with pytest.raises(UserError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
