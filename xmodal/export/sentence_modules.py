"""Modules of sentence-transformers as files: what each is called there, its config and its weights.

Written by hand, so that an export needs no sentence-transformers; a test loads what is written with that library.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from xmodal.files import write_json, written_whole
from xmodal.towers.batch_norm import BatchNorm
from xmodal.towers.heads import MLP, Identity, Linear

TYPES = {  # what each is called -> where that library has it
    "Router": "sentence_transformers.base.modules.router.Router",
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Dense": "sentence_transformers.base.modules.dense.Dense",
    "LayerNorm": "sentence_transformers.sentence_transformer.modules.layer_norm.LayerNorm",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
}


@dataclass(frozen=True)
class Module:
    """A module after the transformer: its name in `TYPES`, its config.json, its weights."""

    kind: str
    config: Mapping[str, Any]
    weights: Mapping[str, Tensor] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write the module's own folder."""
        write_json(folder / "config.json", dict(self.config))
        if self.weights:
            tensors = {name: value.detach().cpu().contiguous().clone() for name, value in self.weights.items()}
            with written_whole(folder / "model.safetensors") as beside:
                save_file(tensors, beside)


def dense(weight: Tensor, bias: Tensor | None = None, activation: nn.Module | None = None) -> Module:
    """activation(W x + b), W [out, in]; without an activation, the map alone."""
    made = type(activation or nn.Identity())
    config = {
        "in_features": weight.shape[1], "out_features": weight.shape[0], "bias": bias is not None,
        "activation_function": f"{made.__module__}.{made.__qualname__}",
    }  # fmt: skip
    return Module("Dense", config, {"linear.weight": weight} | ({} if bias is None else {"linear.bias": bias}))


def pooling(width: int, mode: str, include_prompt: bool = True) -> Module:
    """Pooling of tokens of so many features: `mean`, `cls` or `lasttoken`."""
    return Module("Pooling", {"embedding_dimension": width, "pooling_mode": mode, "include_prompt": include_prompt})


def head_modules(head: nn.Module) -> list[Module] | str:
    """The modules that compute what a head does in evaluation, or why there are none."""
    if isinstance(head, Identity):
        return []
    if isinstance(head, Linear):
        return [dense(head.weight, head.bias)]
    if not isinstance(head, MLP):
        return f"its head is a {type(head).__name__}, and that library has no such module"
    if head.residual:
        return "its head adds its input to its output (residual), and that library has no such module"
    return _mlp(list(head))


def _mlp(layers: Sequence[nn.Module]) -> list[Module]:
    """Each linear map with what follows it: a BatchNorm goes into its weights, a LayerNorm between two modules."""
    found: list[Module] = []
    at = 0
    while at < len(layers):
        linear = layers[at]
        assert isinstance(linear, nn.Linear)
        after = [*layers[at + 1 : next((n for n in range(at + 1, len(layers)) if _is_linear(layers[n])), len(layers))]]
        activation = next((m for m in after if not isinstance(m, nn.Dropout | nn.LayerNorm | BatchNorm)), None)
        weight, bias = linear.weight.detach(), linear.bias.detach()
        norm = next((m for m in after if isinstance(m, nn.LayerNorm | BatchNorm)), None)
        if isinstance(norm, BatchNorm):
            weight, bias = folded(weight, bias, norm)
        if isinstance(norm, nn.LayerNorm):
            size = int(norm.normalized_shape[0])
            weights = {f"norm.{name}": value for name, value in norm.state_dict().items()}
            found += [dense(weight, bias), Module("LayerNorm", {"dimension": size}, weights)]
            found.append(dense(torch.eye(size), None, activation))  # that library's activations follow a map
        else:
            found.append(dense(weight, bias, activation))
        at += 1 + len(after)
    return found


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear)


def folded(weight: Tensor, bias: Tensor, norm: BatchNorm) -> tuple[Tensor, Tensor]:
    """W and b of the map that is `norm(W x + b)` in evaluation."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return weight * scale[:, None], (bias - norm.running_mean) * scale + norm.bias


def write_router(folder: Path, routes: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    """modules.json and router_config.json: kind of item -> (folder, kind of module) of each module of its route."""
    listed = [("", "Router"), ("1_Normalize", "Normalize")]
    write_json(
        folder / "modules.json",
        [{"idx": i, "name": str(i), "path": path, "type": TYPES[kind]} for i, (path, kind) in enumerate(listed)],
    )
    write_json(folder / "1_Normalize" / "config.json", {})
    write_json(
        folder / "router_config.json",
        {
            "types": {path: TYPES[kind] for route in routes.values() for path, kind in route},
            "structure": {kind: [path for path, _ in route] for kind, route in routes.items()},
            "parameters": {
                "default_route": "text" if "text" in routes else next(iter(routes)),
                "allow_empty_key": True,
                "route_mappings": {f"(None, {kind!r})": kind for kind in routes},
            },
        },
    )
