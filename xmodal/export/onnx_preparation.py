"""How the script beside ONNX graphs prepares items: settings as JSON, and the files that they name.

Input: a tower's processor. Output: what `onnx_runtime.py` reads, which computes the same with numpy.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from xmodal.files import written_whole
from xmodal.processor import Processor
from xmodal.towers.image_processor import PixelProcessor
from xmodal.towers.own.speech_encoder import LOG_FLOOR, SILENCE, LogMel
from xmodal.towers.own.text_encoder import END, START, ByteText

Prepared = tuple[dict[str, Any], bool]


def preparation(backbone: nn.Module, processor: Processor, folder: Path, modality: str) -> Prepared | str:
    """(settings of a modality's items, must each be encoded alone?), or why the script cannot prepare them.

    Files that the settings name are written into `folder`.
    """
    from xmodal.towers.huggingface.speech.spectrogram import WhisperProcessor
    from xmodal.towers.huggingface.speech.waveform import WaveformProcessor
    from xmodal.towers.huggingface.text_processor import TextProcessor

    known: list[tuple[type, Callable[..., Prepared | str]]] = [
        (TextProcessor, _tokens), (ByteText, _bytes), (PixelProcessor, _pixels), (LogMel, _log_mel),
        (WhisperProcessor, _whisper), (WaveformProcessor, _samples),
    ]  # fmt: skip
    for kind, describe in known:
        if isinstance(processor, kind):
            return describe(backbone, processor, folder, modality)
    return f"its items are prepared by a {type(processor).__name__}, which the script beside the graph does not know"


def _tokens(backbone: nn.Module, processor: Any, folder: Path, modality: str) -> Prepared | str:
    from xmodal.towers.huggingface.text_processor import FixedTextProcessor

    if not getattr(processor.tokenizer, "is_fast", False):
        return "its tokenizer is Python code, and has no tokenizer.json"
    file = f"{modality}.tokenizer.json"
    with written_whole(folder / file) as beside:
        processor.tokenizer.backend_tokenizer.save(str(beside))
    fixed = processor.max_length if isinstance(processor, FixedTextProcessor) else None
    return {
        "kind": "tokens", "tokenizer": file, "max_length": processor.max_length, "lower": processor.lower,
        "prompt": processor.prompt, "pad": processor.pad, "fixed": fixed,
    }, False  # fmt: skip


def _bytes(backbone: nn.Module, processor: Any, folder: Path, modality: str) -> Prepared:
    return {"kind": "bytes", "max_length": processor.max_length, "start": START, "end": END}, False


def _pixels(backbone: nn.Module, processor: Any, folder: Path, modality: str) -> Prepared:
    return processor.describe() | {"kind": "pixels"}, False


def _log_mel(backbone: nn.Module, processor: Any, folder: Path, modality: str) -> Prepared:
    file = _filters(folder, modality, processor.filters.numpy(), processor.window.numpy())
    levels = {"floor": LOG_FLOOR, "silence": SILENCE, "step": processor.step, "filters": file}
    return processor.describe() | {"kind": "log_mel"} | levels, False


def _whisper(backbone: Any, processor: Any, folder: Path, modality: str) -> Prepared:
    extractor, hearing = processor.extractor, processor.hearing
    angles = 2 * np.pi * np.arange(extractor.n_fft) / extractor.n_fft
    file = _filters(folder, modality, np.asarray(extractor.mel_filters), 0.5 - 0.5 * np.cos(angles))
    return {
        "kind": "whisper", "sample_rate": processor.sample_rate, "fft": extractor.n_fft, "hop": extractor.hop_length,
        "most": hearing.windows.length, "margin": hearing.margin, "padded": hearing.padded, "filters": file,
        "window": processor.most, "cut": hearing.cut,
    }, False  # fmt: skip


def _samples(backbone: Any, processor: Any, folder: Path, modality: str) -> Prepared:
    normalize = bool(getattr(processor.extractor, "do_normalize", False))
    settings = {"sample_rate": processor.sample_rate, "shortest": processor.shortest, "normalize": normalize}
    return {"kind": "samples", **settings}, not backbone.masked


def _filters(folder: Path, modality: str, filters: np.ndarray, window: np.ndarray) -> str:
    """Write [bins, F] and [fft] of a spectrum into a file; returns its name."""
    name = f"{modality}.filters.npz"
    with written_whole(folder / name) as beside, beside.open("wb") as file:
        np.savez(file, filters=filters, window=window)
    return name
