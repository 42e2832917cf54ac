"""Low-rank updates inside a backbone (Hu et al. 2021, arXiv:2106.09685), put there by peft.

Enters: a backbone. Leaves: the same backbone, its own parameters fixed, with updates B A that train: y = W x +
alpha / rank B A x, where B starts at zero, so that training starts from the backbone's own features.
"""

from torch import Tensor, nn

from xmodal.config.towers import LoRA
from xmodal.errors import UserError


def add_lora(backbone: nn.Module, spec: LoRA) -> None:
    """Put updates beside the linear maps that `spec.targets` names, and fix everything else.

    Raises:
        UserError: no map has such a name, or an attention was named that has no linear map.

    Example:
        add_lora(backbone, LoRA(rank=4, targets=("q_proj", "v_proj")))
    """
    from peft import LoraConfig, inject_adapter_in_model  # seconds to import, and few towers need it

    attentions = [name for name, module in backbone.named_modules() if isinstance(module, nn.MultiheadAttention)]
    # peft would merge into an nn.MultiheadAttention's weights and back at every pass, and so round them ever further
    inside = tuple(f"{name}." for name in attentions)
    linear = [
        name
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and not name.startswith(inside)
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


def is_update(name: str) -> bool:
    """Does this name of a parameter belong to an update?"""
    return ".lora_" in name


def own_state(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module without its updates, under the names it had before `add_lora`."""
    state = module.state_dict()
    return {name.replace(".base_layer.", "."): value for name, value in state.items() if not is_update(name)}


def set_training(backbone: nn.Module, mode: bool) -> None:
    """Evaluation mode for a backbone with updates, whose own dropout and BatchNorm rest; only the updates' is set."""
    backbone.eval()
    for name, module in backbone.named_modules():
        if name.endswith("lora_dropout"):
            module.train(mode)
