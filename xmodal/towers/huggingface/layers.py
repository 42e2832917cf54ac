"""The states of chosen layers of a `transformers` encoder, side by side.

Layer 0 is what enters the first block, layer i what leaves block i; the last one is what the model itself gives, its
final normalisation included. Axes: B items, T steps, G features of a layer, L chosen layers.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from xmodal.errors import UserError

Layers = Literal["last"] | int | tuple[int, ...]

PLACES = ("layers", "encoder.layers", "encoder.layer", "layer", "transformer.layer")  # of the blocks, family by family
# the normalisation after the last block, family by family
FINAL = ("layer_norm", "layernorm", "norm", "final_norm", "final_layer_norm", "post_layernorm")


def blocks_of(model: nn.Module, name: str) -> list[nn.Module]:
    """The blocks of an encoder.

    Args:
        model: of `transformers`.
        name: of the tower, as the config says it.

    Raises:
        UserError: it keeps them where none is known.
    """
    inner = getattr(model, "vision_model", model)
    for place in PLACES:
        try:
            found = inner.get_submodule(place)
        except AttributeError:
            continue
        if isinstance(found, nn.ModuleList):
            return list(found)
    raise UserError(f"tower {name!r}: layers: the blocks of a {type(model).__name__} are not known here; leave it out")


def layer_states(layers: Layers, model: nn.Module, name: str) -> "LayerStates":
    """The chosen layers of an encoder; of the last alone, whatever the encoder is.

    Raises:
        UserError: a layer that it has not, or blocks that are not known here.
    """
    inner = getattr(model, "vision_model", model)
    final = [getattr(inner, place) for place in FINAL if hasattr(inner, place)]
    return LayerStates(layers, [] if layers == "last" else blocks_of(model, name), name, final)


class LayerStates:
    """What a forward pass gives at the chosen layers [B, T, L * G].

    Args:
        layers: as the spec says it.
        blocks: of the model, in order.
        name: of the tower, for errors.
        final: modules after the last block, without use where that is not chosen.

    Raises:
        UserError: a layer that the model has not.
    """

    def __init__(self, layers: Layers, blocks: Sequence[nn.Module], name: str, final: Sequence[Any] = ()):
        count = len(blocks)
        wanted = (count,) if layers == "last" else (layers,) if isinstance(layers, int) else layers
        most = max(wanted)
        if most > count:
            raise UserError(f"tower {name!r}: layers: {most}: the model has {count} blocks; choose from 0 to {count}")
        self.wanted = wanted
        self.blocks = (*blocks,)
        if most < count:
            for module in [*blocks[most:], *final]:  # unused, and DDP waits for every gradient
                module.requires_grad_(False)

    @property
    def told(self) -> str:
        """What a fingerprint must tell of them; nothing of the last alone."""
        return "" if self.wanted == (len(self.blocks),) else f" layers={self.wanted}"

    def of(self, run: Callable[[], Tensor]) -> Tensor:
        """Call `run`, which passes through the blocks and gives the last layer."""
        if self.wanted == (len(self.blocks),):
            return run()
        found = dict[int, Tensor]()

        def enters(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            found[0] = args[0] if args else kwargs["hidden_states"]

        def leaves(number: int) -> Callable[[nn.Module, Any, Any], None]:
            def keep(module: nn.Module, args: Any, output: Any) -> None:
                found[number] = output if isinstance(output, Tensor) else output[0]

            return keep

        hooks = [
            self.blocks[number - 1].register_forward_hook(leaves(number))
            if number
            else self.blocks[0].register_forward_pre_hook(enters, with_kwargs=True)
            for number in set(self.wanted) - {len(self.blocks)}
        ]
        try:
            found[len(self.blocks)] = run()
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat([found[number] for number in self.wanted], -1)
