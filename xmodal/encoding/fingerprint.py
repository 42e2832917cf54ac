"""One digest of all that decides a side's embeddings, and of nothing else."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from xmodal.processor import Processor
from xmodal.towers.kind import settings_of
from xmodal.towers.tower import Tower, add_state


def fingerprint_of(tower: Tower, processor: Processor, spec: Mapping[str, Any]) -> str:
    """SHA-256 over weights, settings and preprocessing; the same wherever the weights were found.

    Args:
        tower: with its head.
        processor: its own.
        spec: of the tower, as JSON; its whereabouts do not count.
    """
    digest = hashlib.sha256(tower.fingerprint().encode())
    add_state(digest, tower.head)
    settings = [settings_of(spec), processor.describe()]
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    return digest.hexdigest()
