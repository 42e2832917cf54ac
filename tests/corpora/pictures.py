"""Small pictures, and manifests read back by pyarrow."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image


def save(path: Path, shade: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (5, 4), (shade % 256, 10, 20)).save(path)
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()


def skipped_of(manifest: Path) -> dict[str, str]:
    """Item to reason, folders cut off."""
    lines = manifest.with_suffix(".skipped.jsonl").read_text(encoding="utf-8").splitlines()
    return {Path(row["item"]).name: row["reason"] for row in map(json.loads, lines)}
