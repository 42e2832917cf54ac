"""Embeddings out of the ONNX graphs of this folder: needs numpy and onnxruntime, not torch, not xmodal.

    python embed.py text "turn on the lights" "play some music"
    python embed.py image photos/1.png photos/2.jpg --out images.npy
    python embed.py speech clip.wav --out speech.npy

Texts need `tokenizers` (but for bytes), images Pillow, audio soundfile, at the model's sample rate. As a library:

    from embed import Embedder
    Embedder("folder").embed("text", ["turn on the lights"])  # [1, D] float32, unit norm

Written by `xmodal export RUN OUT --format onnx`; settings.json beside it says what is prepared how.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

Inputs = dict[str, np.ndarray]


class Embedder:
    """The graphs of a folder, each loaded when it is first asked for.

    Args:
        folder: of settings.json.
    """

    def __init__(self, folder: str | Path = Path(__file__).parent) -> None:
        self.folder = Path(folder)
        self.settings = json.loads((self.folder / "settings.json").read_text(encoding="utf-8"))["modalities"]
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}

    def embed(self, modality: str, items: Sequence[Any], batch_size: int = 16) -> np.ndarray:
        """Unit-norm embeddings [N, D] float32 of texts, images (paths or opened) or audio (paths, waveforms [T])."""
        if modality not in self.settings:
            raise SystemExit(f"{modality}: no such modality here; expected one of {', '.join(self.settings)}")
        settings = self.settings[modality]
        if modality not in self._sessions:
            path = str(self.folder / settings["graph"])
            self._sessions[modality] = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        session, prepare = self._sessions[modality], PREPARE[settings["preparation"]["kind"]]
        size = 1 if settings["alone"] else batch_size
        parts = [np.zeros((0, settings["dim"]), np.float32)]
        for at in range(0, len(items), size):
            given = prepare(self.folder, settings["preparation"], items[at : at + size])
            parts.append(session.run(["embedding"], {name: given[name] for name in settings["inputs"]})[0])
        return np.concatenate(parts)


def tokens(folder: Path, settings: dict[str, Any], texts: Sequence[str]) -> Inputs:
    """Token ids and mask [B, T] of the tokenizer beside the graph."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / settings["tokenizer"]))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if settings["max_length"] is not None:
        tokenizer.enable_truncation(settings["max_length"])
    told = [settings["prompt"] + text for text in texts]
    encoded = tokenizer.encode_batch([text.lower() for text in told] if settings["lower"] else told)
    rows = [one.ids or [settings["pad"]] for one in encoded]
    ids = padded(rows, np.int64, settings["pad"], settings["fixed"])
    mask = np.arange(ids.shape[1]) < np.array([len(row) for row in rows])[:, None]
    return {"input_ids": ids, "attention_mask": mask.astype(np.int64)}


def text_bytes(folder: Path, settings: dict[str, Any], texts: Sequence[str]) -> Inputs:
    """UTF-8 bytes between a start and an end [B, T], and their number [B]."""
    most = settings["max_length"] - 2
    rows = [[settings["start"], *text.encode("utf-8", "replace")[:most], settings["end"]] for text in texts]
    return {"tokens": padded(rows, np.int64), "lengths": lengths_of(rows)}


def pixels(folder: Path, settings: dict[str, Any], images: Sequence[Any]) -> Inputs:
    """(x / 255 - mean) / std of images turned upright, resized and cropped [B, 3, H, W]."""
    from PIL import Image

    found = []
    for image in images:
        opened = upright(image if isinstance(image, Image.Image) else Image.open(image))
        height, width = resized(opened.height, opened.width, settings)
        filter_ = Image.Resampling[settings["interpolation"].upper()]
        array = np.asarray(opened if (width, height) == opened.size else opened.resize((width, height), filter_))
        found.append(fitted(array, settings))
    scaled = np.stack(found).astype(np.float32) / 255
    mean, std = (np.asarray(settings[name], np.float32)[:, None, None] for name in ("mean", "std"))
    return {"pixels": (scaled.transpose(0, 3, 1, 2) - mean) / std}


def upright(image: Any) -> Any:
    """A Pillow image turned as its EXIF says, RGB; 16 bits a channel scaled to 8."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise SystemExit("an image of floating-point numbers; expected 8 or 16 bits a channel: convert it first")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        most = values.max(initial=0)
        if most > 65535 or values.min(initial=0) < 0:
            raise SystemExit(f"an image of {image.mode} pixels outside 0 to 65535; convert it to 8 or 16 bits first")
        eight = image.mode == "I" and most <= 255  # 8 bits in 32
        image = Image.fromarray((values if eight else (values / 257).round()).astype(np.uint8))
    return image.convert("RGB")


def resized(height: int, width: int, settings: dict[str, Any]) -> tuple[int, int]:
    """Height and width after resizing, rounded as the library of the model does."""
    down, across = settings["scale"]
    if settings["resize"] == "squash":
        return down, across
    if settings["resize"] == "shortest" and down == across:
        return (down, int(down * width / height)) if height <= width else (int(down * height / width), down)
    choose = max if settings["resize"] == "longest" else min
    ratio = choose(height / down, width / across)
    return max(1, round(height / ratio)), max(1, round(width / ratio))


def fitted(array: np.ndarray, settings: dict[str, Any]) -> np.ndarray:
    """[h, w, 3] padded and cropped around its centre to the size that the graph takes."""
    for axis, size in enumerate(settings["size"]):
        lacking = max(0, size - array.shape[axis])
        if lacking:
            parts = [np.empty((*array.shape[:axis], n, *array.shape[axis + 1 :]), array.dtype)
                     for n in (lacking // 2, lacking - lacking // 2)]  # fmt: skip
            for part in parts:
                part[:] = np.asarray(settings["fill"], array.dtype)
            array = np.concatenate([parts[0], array, parts[1]], axis)
        spare = array.shape[axis] - size
        start = round(spare / 2) if settings["offset"] == "even" else spare // 2
        array = array[start : start + size] if axis == 0 else array[:, start : start + size]
    return array


def log_mel(folder: Path, settings: dict[str, Any], waves: Sequence[Any]) -> Inputs:
    """Log-mel frames [B, T, F], mean 0 and deviation 1 over each item, and their number [B]."""
    with np.load(folder / settings["filters"]) as arrays:
        filters, window = arrays["filters"], arrays["window"]
    rows = []
    for item in waves:
        wave = waveform(item, settings)
        wave = np.pad(wave, (0, max(0, settings["fft"] - len(wave))))
        wave = np.concatenate([wave[:1], wave[1:] - np.float32(settings["preemphasis"]) * wave[:-1]])
        framed = np.lib.stride_tricks.sliding_window_view(wave, settings["fft"])[:: settings["step"]]
        mel = (np.abs(np.fft.rfft(framed * window)) ** 2) @ filters
        if settings["top_db"] is None:
            mel = np.log(mel + settings["floor"])
        else:
            mel = np.log(np.maximum(mel, max(mel.max() * 10 ** (-settings["top_db"] / 10), settings["silence"])))
        rows.append(((mel - mel.mean()) / (mel.std() + 1e-5)).astype(np.float16).astype(np.float32))
    return {"features": padded(rows, np.float32), "lengths": lengths_of(rows)}


def whisper_mel(folder: Path, settings: dict[str, Any], waves: Sequence[Any]) -> Inputs:
    """Whisper's log-mel [B, T, F] with the silence that is heard after each item, and the frames that touch it [B]."""
    with np.load(folder / settings["filters"]) as arrays:
        filters, window = arrays["filters"], arrays["window"]
    fft, hop, most = settings["fft"], settings["hop"], settings["most"]
    rows, lengths = [], []
    for item in waves:
        wave = waveform(item, settings)
        if len(wave) > most * hop:
            seconds = most * hop / settings["sample_rate"]
            raise SystemExit(f"audio of {len(wave) / settings['sample_rate']:.1f} s; this graph hears {seconds:g} s at "
                             "most: cut it into pieces")  # fmt: skip
        heard = min(math.ceil((max(len(wave), fft) + fft / 2) / hop), most)
        frames = settings["window"] if settings["cut"] or heard >= settings["window"] - 1 else heard + 1
        wave = np.pad(wave, (0, frames * hop - len(wave))).astype(np.float64)
        framed = np.lib.stride_tricks.sliding_window_view(np.pad(wave, fft // 2, mode="reflect"), fft)[::hop][:frames]
        mel = np.log10(np.maximum((np.abs(np.fft.rfft(framed * window)) ** 2) @ filters, 1e-10))
        mel = ((np.maximum(mel, mel.max() - 8) + 4) / 4).astype(np.float32)[: heard + 1]
        rows.append(mel)
        lengths.append(max(1, len(mel) - 1))
    needed = max(most if settings["padded"] else min(n + settings["margin"], most) for n in lengths)
    full = [np.pad(x[:needed], ((0, max(0, needed - len(x))), (0, 0)), mode="edge") for x in rows]
    return {"features": np.stack(full), "lengths": np.array(lengths, np.int64)}


def samples(folder: Path, settings: dict[str, Any], waves: Sequence[Any]) -> Inputs:
    """Waveforms [B, T], each by itself of mean 0 and variance 1 where the model wants it, and their lengths [B]."""
    rows = []
    for item in waves:
        wave = waveform(item, settings)
        wave = np.pad(wave, (0, max(0, settings["shortest"] - len(wave))))
        rows.append((wave - wave.mean()) / np.sqrt(wave.var() + 1e-7) if settings["normalize"] else wave)
    return {"values": padded(rows, np.float32), "lengths": lengths_of(rows)}


def waveform(item: Any, settings: dict[str, Any]) -> np.ndarray:
    """Mono float32 [T] of a file, or of an array that is one already."""
    if isinstance(item, np.ndarray):
        return item.astype(np.float32)
    import soundfile

    read, rate = soundfile.read(item, dtype="float32", always_2d=True)
    if rate != settings["sample_rate"]:
        raise SystemExit(f"{item}: {rate} Hz, expected {settings['sample_rate']} Hz; convert it first (sox, ffmpeg)")
    return np.asarray(read.mean(axis=1), np.float32)


def padded(rows: Sequence[Any], dtype: Any, value: float = 0, length: int | None = None) -> np.ndarray:
    """Rows of any length as one array, filled up with `value`."""
    arrays = [np.asarray(row, dtype) for row in rows]
    size = length or max(len(row) for row in arrays)
    return np.stack([np.pad(row, [(0, size - len(row))] + [(0, 0)] * (row.ndim - 1), constant_values=value)
                     for row in arrays])  # fmt: skip


def lengths_of(rows: Sequence[Any]) -> np.ndarray:
    """[B] int64."""
    return np.array([len(row) for row in rows], np.int64)


PREPARE: dict[str, Callable[[Path, dict[str, Any], Sequence[Any]], Inputs]] = {
    "tokens": tokens, "bytes": text_bytes, "pixels": pixels, "log_mel": log_mel, "whisper": whisper_mel,
    "samples": samples,
}  # fmt: skip


def main() -> None:
    """Embed what is named on the command line, into a .npy file or as JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modality")
    parser.add_argument("items", nargs="+", help="texts, or paths of images or audio")
    parser.add_argument("--out", type=Path, help="FILE.npy; without it, one JSON list a line")
    options = parser.parse_args()
    found = Embedder().embed(options.modality, options.items)
    if options.out is None:
        sys.stdout.writelines(json.dumps([round(float(x), 6) for x in row]) + "\n" for row in found)
    else:
        np.save(options.out, found)


if __name__ == "__main__":
    main()
