"""Where a number was made: date, machine, versions of the packages it depends on."""

import contextlib
import importlib.metadata
import os
import platform
from datetime import UTC, datetime
from typing import Any

PACKAGES = (
    "xmodal", "torch", "torchvision", "transformers", "open_clip_torch", "timm", "peft", "accelerate",
    "datasets", "numpy", "safetensors",
)  # fmt: skip


def made_here() -> dict[str, Any]:
    """Date, machine and versions, for the provenance of a report."""
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return {"date": datetime.now(UTC).date().isoformat(), "machine": machine, "versions": versions()}


def versions() -> dict[str, str]:
    """Versions of the packages a result depends on, as far as they are installed."""
    found = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
