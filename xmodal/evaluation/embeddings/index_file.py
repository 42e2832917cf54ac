"""An index beside an embeddings file: `photos.usearch` of `photos.parquet`, for searches over millions of items.

The graph is usearch's (HNSW, 1603.09320), over the embeddings in 8 bits a number; what it finds is scored again with
the embeddings themselves. At the end of the file stands, as JSON, of which embeddings it is (a digest), the digest of
the graph, and what was measured when it was built; usearch opens the file as well. An index is used only where both
digests hold: a file cut short, or of other embeddings, is never searched. Axes: N items, D embedding, k neighbours.
"""

import hashlib
import json
import struct
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmodal.data.hard.nearest import has_index
from xmodal.errors import UserError
from xmodal.evaluation.embeddings.index_recall import calibrated
from xmodal.files import written_whole
from xmodal.progress import progress_bar

MAGIC = b"xmodalIX"  # the last bytes of the file; before them the length of the JSON, before it the JSON
MOST_FACTS = 2**16  # bytes of the JSON
CONNECTIVITY, EXPANSION_ADD = 32, 128  # links of an item, and how far building looks for them
ADDED = 4096  # items added between two looks at the bar
ENOUGH = 0.95  # recall@10
PAYS = 50_000  # items from which `xmodal embed` builds one unasked
PIECE = 2**26  # bytes that are hashed at a time


@dataclass(frozen=True)
class IndexFacts:
    """What stands in an index file besides the graph."""

    embeddings: str  # digest of the embeddings it is of
    graph: str  # digest of the bytes before the JSON
    bytes: int  # of the graph
    rows: int
    dim: int
    expansion: int  # how many items a search keeps in view
    recall: dict[str, float]  # recall@10 of each set of queries, see `index_recall`
    queries: int  # of each set
    seconds: float  # that building took
    usearch: str  # version

    def line(self, path: Path) -> str:
        """What is printed of an index that was built."""
        items, between = self.recall["items"], self.recall["between"]
        told = (
            f"{path}: index of {self.rows:,} items in {self.seconds:,.0f} s; recall@10 against the exact search "
            f"{items:.3f} of items, {between:.3f} between items, {self.queries} queries each"
        )
        low = min(self.recall.values()) < ENOUGH
        return told + (f"; under {ENOUGH}: search with --exact where every hit counts" if low else "")


@dataclass(frozen=True)
class VectorIndex:
    """An index that is open for searching."""

    graph: Any  # usearch.index.Index
    facts: IndexFacts
    one_at_a_time: Lock = field(default_factory=Lock)  # a search has working memory that two threads cannot share

    def candidates(self, query: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Rows near to a query [D], nearest first; `count` of them, or fewer where the graph finds no more."""
        with self.one_at_a_time:
            return np.asarray(self.graph.search(query, count, threads=1).keys).astype(np.int64)


def index_path(embeddings: Path) -> Path:
    """Where the index of an embeddings file stands."""
    return embeddings.with_suffix(".usearch")


def require_usearch() -> None:
    """Raise `UserError` where usearch is not installed."""
    if not has_index():
        raise UserError("an index needs usearch, not installed here; pip install 'xmodal[search]'")


def check_index_target(path: Path) -> None:
    """Raise `UserError` where an index would take the place of a file that is none of xmodal's."""
    if path.exists() and (not path.is_file() or _facts(path) is None):
        raise UserError(f"{path}: in the way, and no index of xmodal's; move it, or give the embeddings another name")


def check_index_wanted(embeddings: Path, wanted: bool | None) -> None:
    """Raise `UserError` where the index that is asked for cannot be built; see `index_beside`."""
    if wanted and embeddings.suffix != ".parquet":
        raise UserError(f"{embeddings}: an index goes beside a parquet file; give --out a name that ends in .parquet")
    if wanted:
        require_usearch()
    if wanted is not False and embeddings.suffix == ".parquet":
        check_index_target(index_path(embeddings))


def index_beside(embeddings: Path, z: NDArray[np.float32], wanted: bool | None) -> str | None:
    """Build the index of a file that was just written, or take away the one of the file that was there before.

    Args:
        embeddings: the file.
        z: [N, D] what is in it.
        wanted: build one; None: where it pays, and usearch is installed.

    Returns:
        A line that says what was done, None where there is nothing to say.
    """
    path = index_path(embeddings)
    large = len(z) >= PAYS
    if wanted or (wanted is None and large and has_index()):
        return write_index(embeddings, z).line(path)
    if path.is_file() and _facts(path) is not None:
        path.unlink()
        return f"{path}: removed, it was the index of other embeddings"
    if wanted is None and large:
        return "no index: usearch is not installed; every search goes through all items; pip install 'xmodal[search]'"
    return None


def write_index(embeddings: Path, z: NDArray[np.float32]) -> IndexFacts:
    """Build the index of an embeddings file, measure it, and write it whole or not at all; an older one is replaced.

    Args:
        embeddings: the file; the index goes beside it.
        z: [N, D] what is in it.

    Raises:
        UserError: no usearch, or another's file in the way.

    Example:
        write_index(Path("photos.parquet"), embedded.z).recall  # {"items": 0.998, "between": 0.991}
    """
    require_usearch()
    import usearch
    from usearch.index import Index

    path = index_path(embeddings)
    check_index_target(path)
    start = time.perf_counter()
    graph = Index(
        ndim=z.shape[1], metric="cos", dtype="i8", connectivity=CONNECTIVITY, expansion_add=EXPANSION_ADD
    )  # fmt: skip
    with progress_bar(total=len(z), desc=f"building {path.name}", unit="items", delay=2) as bar:
        for first in range(0, len(z), ADDED):
            part = z[first : first + ADDED]
            graph.add(np.arange(first, first + len(part)), part)
            bar.update(len(part))
    seconds = time.perf_counter() - start
    expansion, recall, queries = calibrated(graph, z)
    with written_whole(path) as beside:
        graph.save(str(beside))
        facts = IndexFacts(
            embeddings=digest_of(z),
            graph=digest_of(np.memmap(beside, np.uint8, "r")),
            bytes=beside.stat().st_size,
            rows=len(z),
            dim=z.shape[1],
            expansion=expansion,
            recall=recall,
            queries=queries,
            seconds=round(seconds, 1),
            usearch=usearch.__version__,
        )
        written = json.dumps(asdict(facts)).encode()
        with beside.open("ab") as file:
            file.write(written + struct.pack("<Q", len(written)) + MAGIC)
    return facts


def open_index(embeddings: Path, z: NDArray[np.float32]) -> VectorIndex | str | None:
    """The index of an embeddings file; None where there is none, a line where the one that is there cannot be used.

    Args:
        embeddings: the file.
        z: [N, D] what is in it.
    """
    path = index_path(embeddings)
    if not path.is_file():
        return None
    anew = f"make it again with: xmodal index {embeddings}"
    again = f"searched without it; {anew}"
    facts = _facts(path)
    if facts is None:
        return f"{path}: no index of xmodal's, or cut short; searched without it; move it, then {anew}"
    if (facts.rows, facts.dim) != z.shape or facts.embeddings != digest_of(z):
        return f"{path}: the index of other embeddings than those in {embeddings.name}; {again}"
    if not has_index():
        return f"{path}: needs usearch, not installed here; searched without it; pip install 'xmodal[search]'"
    if facts.graph != digest_of(np.memmap(path, np.uint8, "r", shape=(facts.bytes,))):
        return f"{path}: damaged; {again}"
    from usearch.index import Index

    try:
        graph = Index.restore(str(path), view=True)
    except (RuntimeError, ValueError, TypeError) as error:  # of a version of usearch with another format
        return f"{path}: usearch cannot open it ({error}); {again}"
    if graph is None or len(graph) != len(z):
        return f"{path}: usearch cannot open it; {again}"
    graph.expansion_search = facts.expansion
    return VectorIndex(graph, facts)


def digest_of(array: NDArray[Any]) -> str:
    """SHA-256 over the digests of an array's pieces, which threads hash at the same time.

    Example:
        digest_of(np.zeros((2, 3), np.float32))
    """
    flat = array.reshape(-1).view(np.uint8)
    with ThreadPoolExecutor() as pool:
        pieces = pool.map(lambda at: hashlib.sha256(flat[at : at + PIECE].data).digest(), range(0, len(flat), PIECE))
        return hashlib.sha256(b"".join(pieces)).hexdigest()


def _facts(path: Path) -> IndexFacts | None:
    """What stands at the end of an index file; None where nothing of the kind does."""
    size, tail = path.stat().st_size, 8 + len(MAGIC)
    if size < tail:
        return None
    with path.open("rb") as file:
        file.seek(size - tail)
        (length,) = struct.unpack("<Q", file.read(8))
        if file.read() != MAGIC or length > min(MOST_FACTS, size - tail):
            return None
        file.seek(size - tail - length)
        written = file.read(length)
    try:
        found: Mapping[str, Any] = json.loads(written)
        facts = IndexFacts(**found)
        return facts if facts.bytes == size - tail - length else None
    except (ValueError, TypeError):
        return None
