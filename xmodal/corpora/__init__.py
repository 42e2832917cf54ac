"""Corpora: from a corpus as it is published to manifests. One reader each, told apart by name.

Each is `prepare(root, out, limit=None) -> {path written: rows}`: checks that `root` holds the corpus whole, leaves
the audio where it is, and writes into `out`. `limit` keeps the first rows of each manifest, for a quick try.
"""

from collections.abc import Callable
from pathlib import Path

from xmodal.corpora import fsdd, nlu_home, slurp

CORPORA: dict[str, Callable[[Path, Path, int | None], dict[Path, int]]] = {
    "fsdd": fsdd.prepare,
    "nlu_home": nlu_home.prepare,
    "slurp": slurp.prepare,
}
