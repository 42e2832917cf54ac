"""Tiny ONNX graphs, written node by node, and what they compute, written in torch."""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor
from torch.nn import functional as F

G, KERNEL, STRIDE, RATE = 6, 40, 20, 8000


def filters(seed: int = 0) -> Tensor:
    """[G, 1, KERNEL] of the convolution that every graph over waveforms has."""
    return torch.randn(G, 1, KERNEL, generator=torch.Generator().manual_seed(seed))


def frames_of(wave: Tensor, weight: Tensor) -> Tensor:
    """[T] -> [T', G]: what the graphs over waveforms compute, for one item without padding."""
    return F.relu(F.conv1d(wave[None, None], weight, stride=STRIDE))[0].T


def saved(path: Path, nodes: list, inputs: list, outputs: list, weights: dict[str, Tensor], **options: object) -> Path:
    """A graph of these nodes; `inputs`, `outputs`: (name, type, shape)."""
    values = [[helper.make_tensor_value_info(*each) for each in some] for some in (inputs, outputs)]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "tiny", values[0], values[1], stored),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    onnx.save_model(model, str(path), **options)
    return path


def waves(path: Path, pooled: bool = False, told: str = "", batch: str | int = "b", **options: object) -> Path:
    """wave [B, T] -> frames [B, T', G], or their mean [B, G].

    Args:
        path: of the file.
        pooled: the mean.
        told: "lengths": the graph takes them, silences what is beyond and says how many frames count; "mask".
        batch: the axis.
        options: of `onnx.save_model`; `seed` of the weights.
    """
    weight = filters(options.pop("seed", 0))  # type: ignore[arg-type]
    inputs = [("wave", TensorProto.FLOAT, [batch, "t"])]
    outputs = [("frames", TensorProto.FLOAT, [batch, G] if pooled else [batch, "s", G])]
    weights = {"axis": torch.tensor([1]), "weight": weight}
    nodes = [
        helper.make_node("Unsqueeze", ["wave", "axis"], ["channel"]),
        helper.make_node("Conv", ["channel", "weight"], ["heard"], strides=[STRIDE]),
        helper.make_node("Relu", ["heard"], ["loud"]),
        helper.make_node("Transpose", ["loud"], ["steps" if pooled else "frames"], perm=[0, 2, 1]),
    ]
    if pooled:
        nodes.append(helper.make_node("ReduceMean", ["steps"], ["frames"], axes=[1], keepdims=0))
    if told == "lengths":
        inputs.append(("lengths", TensorProto.INT64, [batch]))
        outputs.append(("counts", TensorProto.INT64, [batch]))
        weights |= {"before": torch.tensor(KERNEL - STRIDE), "stride": torch.tensor(STRIDE)}
        nodes += [
            helper.make_node("Sub", ["lengths", "before"], ["rest"]),
            helper.make_node("Div", ["rest", "stride"], ["counts"]),
        ]
    if told == "mask":  # what is masked is silenced
        inputs.append(("mask", TensorProto.FLOAT, [batch, "t"]))
        nodes.insert(0, helper.make_node("Mul", ["wave", "mask"], ["audible"]))
        nodes[1] = helper.make_node("Unsqueeze", ["audible", "axis"], ["channel"])
    return saved(path, nodes, inputs, outputs, weights, **options)


def pictures(path: Path, size: int = 16, patch: int = 8) -> tuple[Path, Tensor]:
    """pixels [B, 3, size, size] -> [B, G]: patches, and their mean; and the patches' weight."""
    weight = torch.randn(G, 3, patch, patch, generator=torch.Generator().manual_seed(1))
    nodes = [
        helper.make_node("Conv", ["pixels", "weight"], ["patches"], strides=[patch, patch]),
        helper.make_node("GlobalAveragePool", ["patches"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["vector"]),
    ]
    inputs, outputs = [("pixels", TensorProto.FLOAT, ["b", 3, size, size])], [("vector", TensorProto.FLOAT, ["b", G])]
    return saved(path, nodes, inputs, outputs, {"weight": weight}), weight


def tokens(path: Path, words: int) -> tuple[Path, Tensor]:
    """tokens, mask and types [B, T] -> embeddings [B, T, G]; and the table of embeddings."""
    table = torch.randn(words, G, generator=torch.Generator().manual_seed(2))
    nodes = [
        helper.make_node("Add", ["input_ids", "token_type_ids"], ["both"]),
        helper.make_node("Gather", ["table", "both"], ["found"]),
        helper.make_node("Cast", ["attention_mask"], ["counts"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["counts", "last"], ["weight"]),
        helper.make_node("Mul", ["found", "weight"], ["hidden"]),
    ]
    inputs = [(name, TensorProto.INT64, ["b", "t"]) for name in ("input_ids", "attention_mask", "token_type_ids")]
    outputs = [("hidden", TensorProto.FLOAT, ["b", "t", G])]
    return saved(path, nodes, inputs, outputs, {"table": table, "last": torch.tensor([-1])}), table
