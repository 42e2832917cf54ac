"""AdamW with parameter groups by regex, and a learning rate that is a pure function of the step."""

import logging
import math
import re
import types
from typing import Any

import torch
from torch import nn

from xmodal.config.schema import OptimSpec, Rule
from xmodal.distributed import rank
from xmodal.errors import UserError
from xmodal.training.layer_decay import rates_by_depth

log = logging.getLogger(__name__)


def parameter_groups(module: nn.Module, spec: OptimSpec) -> list[dict[str, Any]]:
    """Groups of parameters that share settings, with their names, learning-rate scale and weight decay.

    The first rule whose regex is found in the name wins. Without a rule matrices decay, vectors and scalars (biases,
    gains, temperature) do not, and `layer_decay` gives a backbone's blocks their rates. A rule with `lr_scale: 0`
    freezes its parameters; modules that it freezes whole stay in evaluation mode, also after `.train()`: else their
    BatchNorm statistics and dropout would go on.

    Raises:
        UserError: a rule matches no parameter, nothing is left to train, or blocks that cannot be numbered.
    """
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    used: set[Rule] = set()
    frozen: list[str] = []
    by_depth = _rates_by_depth(module, spec) if spec.layer_decay < 1 else {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        rule = _rule_of(name, spec)
        if rule is not None:
            used.add(rule)
        scale = by_depth.get(name, 1.0) if rule is None else rule.lr_scale
        decay = spec.weight_decay if parameter.ndim >= 2 else 0.0
        if rule is not None and rule.weight_decay is not None:
            decay = rule.weight_decay
        if scale == 0:
            parameter.requires_grad_(False)
            frozen.append(name)
            continue
        group = groups.setdefault((scale, decay), {"params": [], "names": [], "lr_scale": scale, "weight_decay": decay})
        group["params"].append(parameter)
        group["names"].append(name)
    for rule in spec.rules:
        if rule not in used:
            names = ", ".join([n for n, p in module.named_parameters() if p.requires_grad][:3])
            raise UserError(f"optim.rules: {rule.match!r} matches no trainable parameter (the first are {names})")
    if not groups:
        raise UserError("optim.rules: nothing is left to train")
    if frozen:
        _hold_still(module, set(frozen))
    return list(groups.values())


def _rule_of(name: str, spec: OptimSpec) -> Rule | None:
    return next((rule for rule in spec.rules if re.search(rule.match, name)), None)


def _rates_by_depth(module: nn.Module, spec: OptimSpec) -> dict[str, float]:
    ruled = {name for name, _ in module.named_parameters() if _rule_of(name, spec) is not None}
    scales, lines = rates_by_depth(module, spec.layer_decay, ruled)
    for line in lines if rank() == 0 else ():
        log.warning("%s", line)
    return scales


def _hold_still(module: nn.Module, frozen: set[str]) -> None:
    """Keep every module, all of whose parameters a rule froze, in evaluation mode for ever; say which."""
    held: list[str] = []
    modules = dict(module.named_modules())
    for name, each in module.named_modules():
        own = {f"{name}.{inner}" if name else inner for inner, _ in each.named_parameters()}
        if own and own <= frozen and not any(name.startswith(f"{above}.") for above in held):
            held.append(name)
            _hold(each)
            # and its copy in a momentum target: targets.SIDE.copied.NAME, or of a head alone what follows `head.`
            _, _, rest = name.partition("towers.")
            side, _, inner = rest.partition(".")
            for copied in (inner, inner.removeprefix("head.") if inner.startswith("head.") else inner):
                twin = modules.get(f"targets.{side}.copied.{copied}") if rest else None
                if twin is not None:
                    _hold(twin)
    if rank() == 0:
        log.warning(
            "optim.rules: lr_scale 0 freezes %d parameters; in evaluation mode from now on: %s",
            len(frozen), listed(held) if held else "no module, since none is frozen whole",
        )  # fmt: skip


def _hold(module: nn.Module) -> None:
    module.train = types.MethodType(_stay_in_evaluation_mode, module)  # type: ignore[method-assign]
    module.eval()


def _stay_in_evaluation_mode(module: nn.Module, mode: bool = True) -> nn.Module:
    return type(module).train(module, False)


def listed(names: list[str]) -> str:
    """The first four names, for a line."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def build_optimizer(module: nn.Module, spec: OptimSpec) -> torch.optim.AdamW:
    """AdamW over the module's trainable parameters."""
    return torch.optim.AdamW(parameter_groups(module, spec), lr=spec.lr, betas=spec.betas, eps=spec.eps)


def learning_rate(step: int, steps: int, spec: OptimSpec) -> float:
    """The learning rate of one step (0-based): linear warm-up, then cosine from `lr` to `final * lr`."""
    warmup = round(spec.warmup * steps)
    if step < warmup:
        return spec.lr * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, steps - 1 - warmup)
    return spec.lr * (spec.final + (1 - spec.final) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group its share of `lr`."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]
