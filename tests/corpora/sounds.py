"""Small recordings, good and bad, and what was left out of a manifest."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

RATE = 8_000


def noise(seconds: float = 0.1, seed: int = 0, rate: int = RATE, channels: int = 1) -> np.ndarray:
    """[T] or [T, channels] of quiet noise."""
    wave = 0.1 * np.random.default_rng(seed).standard_normal((int(seconds * rate), channels))
    return wave[:, 0] if channels == 1 else wave


def record(path: Path, seconds: float = 0.1, seed: int = 0, **form: Any) -> Path:
    """A recording of noise, in the form that its ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    subtype = form.pop("subtype", None)
    rate = form.pop("rate", RATE)
    soundfile.write(path, noise(seconds, seed, rate, **form), rate, subtype=subtype)
    return path


def empty(path: Path) -> Path:
    """A file of no bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a manifest."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def left_out(manifest: Path) -> dict[str, str]:
    """Item to reason, folders cut off."""
    lines = rows_of(manifest.with_suffix(".skipped.jsonl"))
    return {Path(row["item"]).name: row["reason"] for row in lines}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by its path from there."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
