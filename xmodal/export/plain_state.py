"""A backbone's weights without low-rank updates: what is added to a map is written into its weights.

Input: a module with or without peft's layers in it. Output: a copy in evaluation mode that has none.
"""

import copy

from torch import nn

from xmodal.towers.lora import lora_layers


def merged(module: nn.Module) -> nn.Module:
    """A copy in which W x + alpha / rank B A x is one map; of a module without updates, the module itself.

    Example:
        merged(tower.backbone).state_dict()  # the names it had before `add_lora`
    """
    if not lora_layers(module):
        return module
    found = copy.deepcopy(module).eval()
    for name, layer in lora_layers(found).items():
        layer.merge()
        parent, _, child = name.rpartition(".")
        setattr(found.get_submodule(parent), child, layer.get_base_layer())
    return found
