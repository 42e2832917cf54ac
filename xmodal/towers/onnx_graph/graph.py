"""An ONNX graph: its files, their digest, and what it computes. Nothing is unpickled, no library of operators loaded.

Input: a path. Output: a `Graph`, or one line that says what is wrong with it.
"""

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from google.protobuf.message import DecodeError
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from xmodal.errors import UserError, no_such_file
from xmodal.files import written_whole

TYPES: dict[str, Any] = {
    "tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64,
    "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_,
}  # fmt: skip


@dataclass(frozen=True)
class Value:
    """An input or output as the graph declares it; an axis that is free is no number."""

    name: str
    type: str  # `tensor(float)`, ...
    shape: tuple[int | str | None, ...]

    @property
    def is_integer(self) -> bool:
        """Does it hold whole numbers?"""
        return self.type in ("tensor(int64)", "tensor(int32)")

    @property
    def is_float(self) -> bool:
        """Does it hold real numbers?"""
        return self.type in ("tensor(float)", "tensor(float16)", "tensor(double)")

    def __str__(self) -> str:
        axes = ", ".join("?" if axis is None else str(axis) for axis in self.shape)
        return f"{self.name} {self.type.removeprefix('tensor(').rstrip(')')} [{axes}]"


class Graph:
    """A graph that onnxruntime runs on the CPU, with as many threads as torch has here.

    Args:
        path: of the file; its external data lie beside it, or in folders beside it.

    Raises:
        UserError: no ONNX graph, external data that are missing or lie elsewhere, operators that onnxruntime lacks.

    Example:
        Graph(Path("encoder.onnx")).run({"wave": np.zeros((1, 16000), np.float32)}, ["frames"])
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.external = external_files(path)
        digest = hashlib.sha256()
        for file in (path, *(path.parent / name for name in self.external)):
            with file.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
        self.digest = digest.hexdigest()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other processes need the cores
        options.log_severity_level = 3  # errors
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's have no class in common
            raise UserError(
                f"{path}: onnxruntime {onnxruntime.__version__} cannot load this graph ({_reason(error)}); export it "
                "with standard operators, or update onnxruntime"
            ) from error
        self.inputs = [Value(found.name, found.type, tuple(found.shape or ())) for found in self.session.get_inputs()]
        self.outputs = [Value(found.name, found.type, tuple(found.shape or ())) for found in self.session.get_outputs()]

    def __deepcopy__(self, memo: dict[int, Any]) -> "Graph":
        return self  # it never changes

    def run(self, given: Mapping[str, np.ndarray], wanted: Sequence[str]) -> list[np.ndarray]:
        """The outputs `wanted`.

        Raises:
            UserError: the graph cannot take these inputs.
        """
        try:
            found: list[np.ndarray] = self.session.run(list(wanted), dict(given))
        except Exception as error:  # as above
            shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in given.items())
            raise UserError(
                f"{self.path}: the graph fails on {shapes} ({_reason(error)}); export it with free axes for batch and "
                "length, and check the tower's settings"
            ) from error
        return found

    def save(self, path: Path) -> None:
        """Copy the graph to `path`, and its external data to where it looks for them from there."""
        for source, target in [(self.path, path), *((self.path.parent / n, path.parent / n) for n in self.external)]:
            if source.resolve() != target.resolve():
                with written_whole(target) as beside:
                    shutil.copyfile(source, beside)


def external_files(path: Path) -> tuple[str, ...]:
    """The names, from its folder, of the files that hold a graph's external data.

    Raises:
        UserError: no ONNX graph; a file that is not there, or not below the graph's folder.
    """
    if not path.is_file():
        raise no_such_file(path)
    try:
        model = onnx.load_model(str(path), load_external_data=False)
    except (DecodeError, ValueError) as error:
        raise UserError(f"{path}: not an ONNX graph ({_reason(error)}); export the encoder to ONNX") from error
    if not model.graph.output:
        raise UserError(f"{path}: not an ONNX graph (it has no output); export the encoder to ONNX")
    found = {ExternalDataInfo(tensor).location for tensor in _tensors(model) if uses_external_data(tensor)}
    folder = path.parent.resolve()
    for name in sorted(found):
        place = (folder / name).resolve()
        if not place.is_relative_to(folder) or Path(name).is_absolute():
            raise UserError(
                f"{path}: its external data {name!r} lie outside its folder; export it again, in one folder"
            )
        if not place.is_file():
            raise UserError(f"{path}: its external data {name!r} are not beside it; copy them there, from the export")
    return tuple(sorted(found))


def _tensors(model: Any) -> Iterator[Any]:
    """Every tensor that is stored in a model."""
    graphs, nodes = [model.graph], [node for function in model.functions for node in function.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
            nodes += graph.node
            continue
        for attribute in nodes.pop().attribute:
            yield attribute.t
            yield from attribute.tensors
            graphs += [attribute.g, *attribute.graphs]


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
