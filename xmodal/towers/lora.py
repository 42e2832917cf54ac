"""Low-rank updates inside a backbone (Hu et al. 2021, arXiv:2106.09685), put there by peft.

y = W x + alpha / rank B A x, where B starts at zero, so that training starts from the backbone's own features. The
backbone's own parameters stay fixed.
"""

import sys
from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn

from xmodal.config.spec import Count, Positive, Share, Spec
from xmodal.errors import UserError

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer


class LoRA(Spec):
    """Low-rank updates of a backbone that itself stays as it is: W x + alpha / rank B A x, with A and B trained.

    `targets` are endings of module names (`q_proj`, `mlp.fc1`); auto is every linear map. open_clip's own transformers
    keep their attention as it is: it is one `nn.MultiheadAttention`, which has no linear map to update.
    """

    rank: Count = 8
    alpha: Positive = 16.0
    dropout: Share = 0.0
    targets: tuple[str, ...] | Literal["auto"] = "auto"


def add_lora(backbone: nn.Module, spec: LoRA) -> None:
    """Put updates beside the linear maps that `spec.targets` names, and fix everything else.

    Maps whose weights were fixed before, such as those of blocks above the chosen layer, are without use and have none.

    Raises:
        UserError: no map has such a name, or an attention was named that has no linear map.

    Example:
        add_lora(backbone, LoRA(rank=4, targets=("q_proj", "v_proj")))
    """
    import xmodal.towers.huggingface.broken_torchaudio  # noqa: F401  # first: peft imports transformers

    # isort: split
    from peft import LoraConfig, inject_adapter_in_model  # seconds to import, and few towers need it

    attentions = [name for name, module in backbone.named_modules() if isinstance(module, nn.MultiheadAttention)]
    # peft would merge into an nn.MultiheadAttention's weights and back at every pass, and so round them ever further
    inside = tuple(f"{name}." for name in attentions)
    linear = [
        name
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and module.weight.requires_grad and not name.startswith(inside)
    ]
    if spec.targets == "auto":
        found = [name for name in linear if isinstance(backbone.get_submodule(name), nn.Linear)]
    else:
        found = [name for name in linear if any(f".{name}".endswith(f".{target}") for target in spec.targets)]
    if not found:
        told = "auto" if spec.targets == "auto" else list(spec.targets)
        raise UserError(
            f"lora.targets: {told}: no linear map of this backbone has such a name (it has "
            f"{', '.join(endings(linear)) or 'none'}); name some of these, or unlock the tower"
        )
    config = LoraConfig(r=spec.rank, lora_alpha=spec.alpha, lora_dropout=spec.dropout, target_modules=found)
    inject_adapter_in_model(config, backbone)


def endings(names: list[str]) -> list[str]:
    """What the names end in, without repetition, at most ten."""
    return list(dict.fromkeys(name.rsplit(".", 1)[-1] for name in names))[:10]


def lora_layers(module: nn.Module) -> "dict[str, LoraLayer]":
    """The layers that hold updates, by name: peft's, whatever their parameters are called."""
    if "peft" not in sys.modules:  # then nothing was put in, and importing it takes seconds
        return {}
    from peft.tuners.lora import LoraLayer

    return {name: found for name, found in module.named_modules() if isinstance(found, LoraLayer)}


def update_names(module: nn.Module) -> frozenset[str]:
    """The names, in the module's state, of its updates."""
    return frozenset(
        f"{name}.{key}" if name else key
        for name, layer in lora_layers(module).items()
        for key in layer.state_dict()  # type: ignore[attr-defined]
        if not key.startswith("base_layer.")
    )


def own_state(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module without its updates, under the names it had before `add_lora`."""
    updates, state = update_names(module), module.state_dict()
    for name in lora_layers(module):
        prefix = f"{name}.base_layer." if name else "base_layer."
        before = f"{name}." if name else ""
        for key in [key for key in state if key.startswith(prefix)]:
            state[before + key.removeprefix(prefix)] = state.pop(key)
    return {name: value for name, value in state.items() if name not in updates}


def set_training(backbone: nn.Module, mode: bool) -> None:
    """Evaluation mode for a backbone with updates, whose own dropout and BatchNorm rest; only the updates' is set."""
    backbone.eval()
    for layer in lora_layers(backbone).values():
        layer.lora_dropout.train(mode)
