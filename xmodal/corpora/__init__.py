"""Corpora: from a corpus as it is published to manifests. One reader each, by its name in `config/kinds.py`.

Each is `prepare(root, out, limit=None) -> {path written: rows}`: checks what `root` holds, leaves the audio and the
images where they are (CIFAR's are packed into the manifest), and writes into `out`. `limit` keeps so many rows of each
manifest, for a quick try. Those marked by `has_splits` also take `splits`, the ones to prepare; without it, all that
are there. A reader is imported when it is named: `CORPORA.find("fsdd")`; one of your own is named as
`my_package.module:prepare`, or by the entry-point group `xmodal.corpora`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from xmodal.config import kinds
from xmodal.corpora.splits import splits_of


class _ByName(Mapping[str, Any]):
    """The registry as a mapping: a reader is imported when it is asked for."""

    def __init__(self, find: Callable[[str], Any]) -> None:
        self._find = find

    def __getitem__(self, name: str) -> Any:
        return self._find(name)

    def __iter__(self) -> Iterator[str]:
        return iter(kinds.CORPORA.names)

    def __len__(self) -> int:
        return len(kinds.CORPORA.names)


CORPORA: Mapping[str, Callable[..., Any]] = _ByName(kinds.CORPORA.find)
SPLITS: Mapping[str, tuple[str, ...]] = _ByName(splits_of)
