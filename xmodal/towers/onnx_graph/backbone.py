"""A graph between a processor and a head: what its inputs get, and what its output means.

Axes: B items, T samples, tokens or steps, G features.
"""

import numpy as np
import torch
from torch import Tensor, nn

from xmodal.errors import UserError
from xmodal.processor import Processor
from xmodal.towers.frames import Frames, by_length, mean_of
from xmodal.towers.image_processor import PixelProcessor
from xmodal.towers.onnx_graph.graph import TYPES, Graph, Value
from xmodal.towers.onnx_graph.kind import OnnxTower
from xmodal.towers.onnx_graph.tokens import TokenProcessor
from xmodal.towers.waveforms import WaveProcessor

TAKES = {
    "audio": "waveforms [B, T] of float, and lengths [B] of int or a mask [B, T] where asked for",
    "image": "pixels [B, 3, {0}, {0}] of float",
    "text": "tokens [B, T] of int, and a mask and token types of that shape where asked for",
}


def load(spec: OnnxTower.Spec) -> tuple["OnnxBackbone", Processor]:
    """The graph of a spec, tried on one item, and the processor.

    Raises:
        UserError: whatever `Graph` raises; inputs that the processor cannot give, an output that is no feature.
    """
    processor: Processor
    graph = Graph(spec.path.expanduser())
    if spec.audio is not None:
        processor = WaveProcessor(spec.audio.sample_rate, spec.audio.shortest, spec.audio.normalize)
        item: np.ndarray = np.zeros(max(spec.audio.shortest, spec.audio.sample_rate), np.float32)
    elif spec.image is not None:
        image, size = spec.image, (spec.image.size,) * 2
        scale = None if image.scale is None else (image.scale, image.scale)
        processor = PixelProcessor(size, image.mean, image.std, image.interpolation, image.resize, scale)
        item = np.zeros((3, *size), np.uint8)
    else:
        assert spec.text is not None
        processor = TokenProcessor(spec.tokenizer or graph.path.parent, spec.text.max_length)
        item = processor.features("a photo of a dog")
    roles = roles_of(graph, processor.kind, spec.image.size if spec.image else 0)
    if spec.output is not None and spec.output not in [value.name for value in graph.outputs]:
        has = ", ".join(map(str, graph.outputs))
        raise UserError(f"{graph.path}: has no output {spec.output!r}; set output to one of {has}")
    output = spec.output or graph.outputs[0].name
    inputs = processor.collate([item])
    found = graph.run(_fed(graph, roles, inputs), [output])[0]
    if found.ndim not in (2, 3) or len(found) != 1 or not np.issubdtype(found.dtype, np.floating):
        raise UserError(
            f"{graph.path}: output {output!r} of one item is {found.dtype} {list(found.shape)}, expected vectors "
            f"[1, G] or sequences [1, T, G] of float; set output to another of {', '.join(map(str, graph.outputs))}"
        )
    made = OnnxSequenceBackbone if found.ndim == 3 else OnnxBackbone
    return made(graph, roles, output, found.shape[-1]), processor


def roles_of(graph: Graph, kind: str, size: int) -> dict[str, str]:
    """What each of the graph's inputs gets: values, lengths, mask, or zeros.

    Args:
        graph: the graph.
        kind: audio, image or text.
        size: of images.

    Raises:
        UserError: an input that a tower of this kind has nothing for, none for the values, or one of a fixed size.
    """
    roles: dict[str, str] = {}
    told = f"a tower of {kind} gives {TAKES[kind].format(size)}"
    way_out = "export another graph, or say what it takes (audio, image or text)"
    for value in graph.inputs:
        role = _role(value, kind, size, "values" in roles.values())
        if role is None or value.type not in TYPES or (role in ("values", "lengths") and role in roles.values()):
            raise UserError(f"{graph.path}: its input {value} cannot be fed: {told}; {way_out}")
        batch, *others = value.shape
        fixed = kind != "image" and any(isinstance(axis, int) for axis in others)
        if fixed or (isinstance(batch, int) and batch != 1):
            raise UserError(
                f"{graph.path}: its input {value} has a fixed batch or length, expected free ones; export it with "
                "dynamic_shapes (or dynamic_axes) for batch and length"
            )
        roles[value.name] = role
    if "values" not in roles.values():
        has = ", ".join(map(str, graph.inputs)) or "none"
        raise UserError(f"{graph.path}: none of its inputs ({has}) can be fed: {told}; {way_out}")
    return roles


def _role(value: Value, kind: str, size: int, found: bool) -> str | None:
    """What an input gets; `found`: the values have their input already. None: nothing fits."""
    rank = len(value.shape)
    if kind == "image":
        wanted = (3, size, size)
        fits = rank == 4 and all(a == b or not isinstance(a, int) for a, b in zip(value.shape[1:], wanted, strict=True))
        return "values" if value.is_float and fits else None
    if kind == "audio" and rank == 1:
        return "lengths" if value.is_integer else None
    if rank != 2:
        return None
    if kind == "audio":
        return "mask" if found else "values" if value.is_float else None
    if not value.is_integer:
        return None
    return "mask" if "mask" in value.name else "zeros" if "type" in value.name else "values"


def _fed(graph: Graph, roles: dict[str, str], inputs: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """What the graph's inputs get of a batch, in the types that it declares."""
    values = inputs["pixels" if "pixels" in inputs else "values"]

    def given(role: str) -> Tensor:
        if role in ("values", "zeros"):
            return values if role == "values" else torch.zeros_like(values)
        lengths = inputs["lengths"]
        return lengths if role == "lengths" else Frames(values[..., None], lengths).mask()

    return {
        value.name: np.ascontiguousarray(given(roles[value.name]).detach().cpu().numpy(), TYPES[value.type])
        for value in graph.inputs
    }


class OnnxBackbone(nn.Module):
    """A graph whose output is a vector for each item.

    Where the graph is told neither lengths nor a mask, items of one length run together, without padding.

    Args:
        graph: the graph.
        roles: of its inputs.
        output: the name of the output.
        width: G.
    """

    def __init__(self, graph: Graph, roles: dict[str, str], output: str, width: int):
        super().__init__()
        self.graph, self.roles, self.output, self.width = graph, roles, output, int(width)
        others = [value for value in graph.outputs if value.name != output]
        self.counts = next((value.name for value in others if value.is_integer and len(value.shape) == 1), None)
        self.one = any(
            value.shape and value.shape[0] == 1 for value in graph.inputs
        )  # does it take one item at a time?

    def extra_repr(self) -> str:
        """What decides the features: the graph's content, and which output is taken."""
        return f"{self.graph.digest}, {self.output}"

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """`pixels`, or `values` and `lengths` -> [B, G] float32."""
        return mean_of(self.frames(inputs))

    def frames(self, inputs: dict[str, Tensor]) -> Frames:
        """The graph's output for each item; a vector is one step."""
        lengths = inputs.get("lengths")
        told = not {"lengths", "mask"}.isdisjoint(self.roles.values())
        if not self.one and (told or lengths is None):
            return self._run(inputs)
        most = 1 if self.one else None
        if lengths is None:
            count = len(inputs["pixels"])
            return by_length(torch.zeros(count), lambda rows, _: self._run({"pixels": inputs["pixels"][rows]}), most)
        values = inputs["values"]
        return by_length(
            lengths, lambda rows, t: self._run({"values": values[rows, :t], "lengths": lengths[rows]}), most
        )

    def _run(self, inputs: dict[str, Tensor]) -> Frames:
        first = next(iter(inputs.values()))
        wanted = [self.output, *([self.counts] if self.counts else [])]
        found, *counted = self.graph.run(_fed(self.graph, self.roles, inputs), wanted)
        values = torch.from_numpy(np.array(found, np.float32)).to(first.device)  # onnxruntime's memory is its own
        values = values[:, None] if values.ndim == 2 else values
        steps = values.shape[1]
        if counted:
            lengths = torch.from_numpy(counted[0].astype(np.int64)).to(first.device)
        elif "lengths" in inputs:
            lengths = -(-inputs["lengths"] * steps // int(inputs["lengths"].max()))
        else:
            lengths = torch.full((len(values),), steps, device=first.device)
        return Frames(values, lengths.clamp(1, steps))


class OnnxSequenceBackbone(OnnxBackbone):
    """A graph whose output is a sequence for each item; its mean is the vector."""

    def sequence(self, inputs: dict[str, Tensor]) -> Frames:
        """`pixels`, or `values` and `lengths` -> what is pooled."""
        return self.frames(inputs)
