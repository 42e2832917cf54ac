"""Parameter groups and the learning rate, against hand-made expectations and torch's own scheduler."""

import copy

import pytest
import torch
from torch import nn

from xmodal.config.schema import OptimSpec, Rule
from xmodal.errors import UserError
from xmodal.towers.heads import Linear
from xmodal.towers.tower import Tower
from xmodal.training.optim import build_optimizer, learning_rate, parameter_groups, set_learning_rate


def model() -> nn.Module:
    return nn.ModuleDict({"body": nn.Linear(3, 4), "norm": nn.LayerNorm(4), "head": nn.Linear(4, 2)})


def settings(module: nn.Module, spec: OptimSpec) -> dict[str, tuple[float, float]]:
    return {n: (g["lr_scale"], g["weight_decay"]) for g in parameter_groups(module, spec) for n in g["names"]}


def test_only_matrices_decay() -> None:
    found = settings(model(), OptimSpec(weight_decay=0.1))
    assert found == {
        "body.weight": (1.0, 0.1), "body.bias": (1.0, 0.0), "norm.weight": (1.0, 0.0), "norm.bias": (1.0, 0.0),
        "head.weight": (1.0, 0.1), "head.bias": (1.0, 0.0),
    }  # fmt: skip


def test_the_first_matching_rule_wins_and_zero_freezes() -> None:
    module = model()
    rules = (Rule(match="^head", lr_scale=0.1, weight_decay=0.5), Rule(match="norm|head", lr_scale=0.0))
    found = settings(module, OptimSpec(weight_decay=0.1, rules=rules))
    assert found == {
        "body.weight": (1.0, 0.1), "body.bias": (1.0, 0.0), "head.weight": (0.1, 0.5), "head.bias": (0.1, 0.5),
    }  # fmt: skip
    assert not module["norm"].weight.requires_grad


def test_a_rule_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(UserError, match="'haed' matches no trainable parameter"):
        parameter_groups(model(), OptimSpec(rules=(Rule(match="haed"),)))


def test_learning_rate_agrees_with_torch_schedulers() -> None:
    spec, steps = OptimSpec(lr=0.5, warmup=0.2, final=0.1), 50
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=spec.lr)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps - 1 - 10, eta_min=0.05)
    expected = [0.5 * (i + 1) / 11 for i in range(10)]
    for _ in range(40):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        cosine.step()
    assert [learning_rate(i, steps, spec) for i in range(steps)] == pytest.approx(expected)


def test_groups_keep_their_share_of_the_rate() -> None:
    optimizer = build_optimizer(model(), OptimSpec(rules=(Rule(match="head", lr_scale=0.25),)))
    set_learning_rate(optimizer, 0.8)
    assert {g["lr_scale"]: g["lr"] for g in optimizer.param_groups} == {1.0: 0.8, 0.25: 0.2}


class Backbone(nn.Module):
    """Dropout and BatchNorm would betray a backbone that is not held still."""

    width = 6

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5))

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        features: torch.Tensor = self.layers(inputs["x"])
        return features


def test_a_backbone_that_a_rule_freezes_is_still(caplog: pytest.LogCaptureFixture) -> None:
    """Its features are those of evaluation mode whatever mode training sets, and so are its copy's."""
    torch.manual_seed(0)
    model = nn.ModuleDict(
        {"towers": nn.ModuleDict({"a": Tower(Backbone(), Linear(6)), "b": Tower(Backbone(), Linear(6))})}
    )
    x = {"x": torch.randn(16, 4)}
    expected = copy.deepcopy(model)["towers"]["a"].eval().features(x)
    parameter_groups(model, OptimSpec(rules=(Rule(match=r"^towers\.a\.backbone", lr_scale=0),)))
    for each in (model, copy.deepcopy(model)):
        for _ in range(2):
            each.train()
            torch.testing.assert_close(each["towers"]["a"].features(x), expected, rtol=0, atol=0)
        assert not any(module.training for module in each["towers"]["a"].backbone.modules())
        assert each["towers"]["a"].head.training
        assert all(module.training for module in each["towers"]["b"].modules())
    assert "lr_scale 0 freezes 4 parameters; in evaluation mode from now on: towers.a.backbone" in caplog.text


def test_a_module_frozen_in_part_trains_on() -> None:
    module = nn.ModuleDict(
        {"body": nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 4)), "head": nn.Linear(4, 2)}
    )
    parameter_groups(module, OptimSpec(rules=(Rule(match=r"^body\.0", lr_scale=0),)))
    module.train()
    assert [each.training for each in module["body"].children()] == [False, True, True]
    assert module["body"].training
