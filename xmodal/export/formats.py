"""What a run can be exported to, and the way there: `export(encoder, out, format)`."""

import importlib
from collections.abc import Sequence
from pathlib import Path

from xmodal.encoding.encoder import Encoder
from xmodal.errors import UserError
from xmodal.export.folder import FORMATS, staged


def export(encoder: Encoder, out: Path, form: str, modalities: Sequence[str] | None = None) -> list[str]:
    """Write a folder that another library loads, whole or not at all; returns lines that say what was written.

    Args:
        encoder: of a run, or of a dual encoder by name.
        out: a new folder.
        form: one of `FORMATS`.
        modalities: those to export; default: all that the encoder has.

    Raises:
        UserError: no such format or modality, a tower that the other library cannot hold, something at `out`.

    Example:
        export(xmodal.load("runs/demo"), Path("demo_onnx"), "onnx")
    """
    if form not in FORMATS:
        raise UserError(f"--format: found {form}, expected one of {', '.join(FORMATS)}")
    chosen = [*dict.fromkeys(modalities or encoder.modalities)]
    for modality in chosen:
        encoder.kind(modality)
    with staged(out) as folder:
        found: list[str] = importlib.import_module(f"{__package__}.{FORMATS[form]}").write(encoder, chosen, folder)
    return found
