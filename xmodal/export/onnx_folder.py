"""A run as ONNX graphs, one a tower, with what prepares their inputs and a script that needs neither torch nor xmodal.

OUT/text.onnx, OUT/speech.onnx     prepared inputs -> embedding [batch, D], unit norm
OUT/settings.json                  what each graph takes, and how items are prepared
OUT/embed.py                       items -> embeddings, with onnxruntime
OUT/text.tokenizer.json, OUT/speech.filters.npz
"""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xmodal import __version__
from xmodal.encoding.encoder import Encoder
from xmodal.errors import UserError
from xmodal.export.cannot import cannot_hold
from xmodal.export.onnx_graph import write_graph
from xmodal.export.onnx_preparation import preparation
from xmodal.files import write_json
from xmodal.processor import Processor

FORM = "onnx"
SCRIPT = Path(__file__).with_name("onnx_runtime.py")
TEXTS = ["turn on the lights in the kitchen", "a dog", "play it"]
SECONDS = (0.7, 0.41, 0.9)


def write(encoder: Encoder, modalities: list[str], folder: Path) -> list[str]:
    """Write the graphs and what is beside them; returns a line for each.

    Raises:
        UserError: onnx or onnxruntime is not installed; a tower whose items the script cannot prepare, or that torch
            cannot trace.
    """
    lacking = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if lacking:
        raise UserError(f"--format onnx needs {' and '.join(lacking)}, not installed here; pip install 'xmodal[onnx]'")
    described: dict[str, Any] = {}
    for modality in modalities:
        if Path(modality).name != modality:
            raise UserError(f"{encoder.name}: {modality!r}: no name for a file; leave this side out (--modalities)")
        tower, processor = encoder.towers[modality], encoder.processors[modality]
        prepared = preparation(tower.backbone, processor, folder, modality)
        if isinstance(prepared, str):
            raise cannot_hold(FORM, encoder.name, modality, prepared)
        settings, alone = prepared
        items = example_items(processor)
        cuts = [items[:1], items[1:], items[:1]] if alone else [items[:2], items, items[2:]]
        cuts = [[one] for one in items] if alone else cuts
        examples = [processor.collate([processor.features(item) for item in cut]) for cut in cuts]
        device = next((p.device for p in tower.parameters()), torch.device("cpu"))
        try:
            inputs = write_graph(tower.cpu().eval(), examples, folder / f"{modality}.onnx")
        except UserError as error:
            raise cannot_hold(FORM, encoder.name, modality, str(error)) from error
        finally:
            tower.to(device)  # the caller goes on with it where it was
        described[modality] = {
            "kind": processor.kind, "graph": f"{modality}.onnx", "inputs": inputs, "dim": tower.dim, "alone": alone,
            "preparation": settings,
        }  # fmt: skip
    write_json(folder / "settings.json", {"xmodal": __version__, "run": encoder.name, "modalities": described})
    shutil.copyfile(SCRIPT, folder / "embed.py")
    return [f"{modality}: {found['graph']}, D = {found['dim']}" for modality, found in described.items()]


def example_items(processor: Processor) -> list[Any]:
    """Three items of a kind, of different lengths, always the same."""
    from PIL import Image

    rng = np.random.default_rng(0)
    if processor.kind == "text":
        return TEXTS
    if processor.kind == "image":
        return [Image.fromarray(rng.integers(0, 256, (64, 48, 3), dtype=np.uint8)) for _ in range(3)]
    rate = int(processor.sample_rate or 1)
    return [(0.1 * rng.standard_normal(int(seconds * rate))).astype(np.float32) for seconds in SECONDS]
