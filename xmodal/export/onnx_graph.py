"""A tower as one graph: prepared inputs in, unit-norm embeddings out; batch and length are free.

Where a backbone's own forward pass looks at numbers (how long is the longest?) a traced graph would keep the answer of
the example; `traceable` has what does the same without looking. Axes: B items, T steps, D embedding.
"""

import errno
import os
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xmodal.errors import UserError
from xmodal.towers.frames import Frames, all_of, mean_of, valid_steps
from xmodal.towers.sequence_heads import SequenceHead
from xmodal.towers.tower import Tower

OPSET = 20  # the newest of torch's exporter that needs no other package
TOLERANCE = 1e-3
Named = dict[str, Tensor]


class EmbeddingGraph(nn.Module):
    """What a tower computes, of inputs in order.

    Args:
        tower: in evaluation mode.
        names: of the inputs, as its processor names them.
    """

    def __init__(self, tower: Tower, names: Sequence[str]):
        super().__init__()
        self.backbone, self.head = tower.backbone, tower.head
        self.names = [*names]
        self.run = traceable(tower.backbone)

    def forward(self, *inputs: Tensor) -> Tensor:
        """-> [B, D]."""
        named = dict(zip(self.names, inputs, strict=True))
        if isinstance(self.head, SequenceHead):
            features = self.head.pool(self.run(named) if self.run else self.backbone.sequence(named))  # type: ignore[operator]
        else:
            features = mean_of(self.run(named)) if self.run else self.backbone(named)
        return F.normalize(self.head(features).float(), dim=-1)


def traceable(backbone: Any) -> Callable[[Named], Frames] | None:
    """The sequence of a backbone without a look at its inputs' numbers; None where its own methods need none."""
    from xmodal.towers.huggingface.speech.waveform import WaveformBackbone
    from xmodal.towers.huggingface.speech.whisper import WhisperBackbone

    def whisper(inputs: Named) -> Frames:
        features, lengths = inputs["features"], inputs["lengths"]  # as long as what is heard of the longest
        model, hearing = backbone.model, backbone.hearing
        frames = torch.full_like(lengths, hearing.windows.length) if hearing.padded else lengths + hearing.margin
        heard = valid_steps(frames, features.shape[1])
        x = F.gelu(model.conv1((features * heard[..., None]).transpose(1, 2)))
        x = F.gelu(model.conv2(x * heard[:, None].to(x.dtype))).transpose(1, 2)
        x = x + model.embed_positions.weight[: x.shape[1]]
        valid = valid_steps((frames + 1) // 2, x.shape[1])[:, None, None]
        mask = torch.zeros_like(valid, dtype=x.dtype).masked_fill(~valid, torch.finfo(x.dtype).min)
        mask = mask.expand(-1, 1, x.shape[1], -1)
        return Frames(backbone.states.of(lambda: backbone._blocks(x, mask)), (lengths + 1) // 2)

    def waveform(inputs: Named) -> Frames:
        values, lengths = inputs["values"], inputs["lengths"]
        if not backbone.masked:  # it would hear padding: one item at a time, without any
            return all_of(backbone._states(values))
        mask = valid_steps(lengths, values.shape[1]).long()
        steps = backbone.model._get_feat_extract_output_lengths(lengths)
        return Frames(backbone._states(values, attention_mask=mask), steps)

    known: dict[type, Callable[[Named], Frames]] = {WhisperBackbone: whisper, WaveformBackbone: waveform}
    return known.get(type(backbone))


def write_graph(tower: Tower, examples: Sequence[Named], path: Path) -> list[str]:
    """Trace a tower with the first example, write the graph, and run it on all; returns the inputs that it takes.

    Args:
        tower: in evaluation mode.
        examples: batches of several sizes and lengths.
        path: of the graph; what exceeds 2 GB goes into files beside it.

    Raises:
        UserError: torch cannot trace it, or the graph computes something else.
        OSError: it cannot be written.
    """
    import onnx

    names = [*examples[0]]
    graph = EmbeddingGraph(tower, names).eval()
    one = [name for name, value in examples[0].items() if name == "pixels" or value.ndim == 1]
    axes = {name: {0: "batch"} if name in one else {0: "batch", 1: "length"} for name in names}
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # its fused attention is no ONNX operator
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of values that it keeps: the check below would find them
        try:
            torch.onnx.export(
                graph, tuple(examples[0].values()), str(path), input_names=names, output_names=["embedding"],
                dynamic_axes={**axes, "embedding": {0: "batch"}}, opset_version=OPSET, dynamo=False,
            )  # fmt: skip
        except Exception as error:  # its errors have no class in common
            if number := _disk_error(error, path.parent):
                raise OSError(number, os.strerror(number), str(path)) from error
            raise UserError(f"torch cannot trace it ({' '.join(str(error).split())[:200]})") from error
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
    taken = [value.name for value in onnx.load_model(str(path), load_external_data=False).graph.input]
    require_same(graph, path, examples, taken)
    return taken


def _disk_error(error: Exception, folder: Path) -> int | None:
    """The number of the error where the disk is at fault, not the tower: also where torch only says that it failed."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    return errno.ENOSPC if shutil.disk_usage(folder).free < 2**20 else None


def require_same(graph: nn.Module, path: Path, examples: Sequence[Named], taken: Sequence[str]) -> None:
    """Raise `UserError` where onnxruntime does not compute what torch does."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for example in examples:
            given: Mapping[str, Any] = {name: example[name].numpy() for name in taken}
            with torch.no_grad():
                expected = graph(*example.values())
            far = float((torch.from_numpy(session.run(["embedding"], dict(given))[0]) - expected).abs().max())
            if not far <= TOLERANCE:
                raise UserError(f"its graph computes something else than the tower (embeddings differ by {far:.2g})")
    except UserError:
        raise
    except Exception as error:  # onnxruntime's have no class in common
        raise UserError(f"onnxruntime cannot run its graph ({' '.join(str(error).split())[:200]})") from error
