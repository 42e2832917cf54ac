"""Search over many embeddings: by the index beside the file, and by comparing every item.

    python benchmarks/bench_search.py                     # 100,000 x 384
    python benchmarks/bench_search.py --rows 1000000      # six minutes on two cores, 5 GB of memory and 2 of disk
    python benchmarks/bench_search.py --quick             # 25,000 x 384

Claim: once loaded, a query is answered in under 50 ms with recall@10 of at least 0.95 against the exact search. The
rows are made of real embeddings: of two of 4,000 phrases that MiniLM embedded (2 to 5 frequent words each) a mean with
random weights, and noise of length 0.3. Queries: `phrases`, 300 that no row was made of; `gap`, the same with a vector
added that is as long as they are, as far apart as two modalities may lie; `items`, 300 rows. Filtered ones are phrases,
over a half, a twentieth and a hundredth of the rows. Prints a table and, last, one JSON line. MiniLM is a package
(extra `demo`), usearch is extra `search`.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import measure
import numpy as np
import pyarrow as pa

from xmodal.encoding.encoder import Encoder
from xmodal.errors import run_script
from xmodal.evaluation.embeddings.columns import Condition
from xmodal.evaluation.embeddings.export import EmbeddedItems, write_embeddings
from xmodal.evaluation.embeddings.index_file import index_path, write_index
from xmodal.evaluation.embeddings.search import SearchIndex, open_search
from xmodal.synthesis.vocabulary import MINILM, words_of
from xmodal.towers import build_tower
from xmodal.towers.kinds.transformers import TransformersTower

PHRASES, QUERIES, EXACT_QUERIES, AT_ONCE, K = 4_000, 300, 40, 50_000, 10
SHARES = {"half": 0.5, "twentieth": 0.05, "hundredth": 0.01}


def minilm() -> Encoder:
    """The text encoder that made the phrases' embeddings."""
    tower, processor = build_tower(TransformersTower.Spec(name=MINILM))
    return Encoder({"text": tower.eval()}, {"text": processor}, name="MiniLM")


def phrases(count: int, rng: np.random.Generator) -> list[str]:
    """Phrases of 2 to 5 words; frequent words are drawn more often."""
    words = np.array(words_of(MINILM, 10_000))
    return [" ".join(words[(rng.random(size) ** 2 * len(words)).astype(int)]) for size in rng.integers(2, 6, count)]


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows [n, D] as long as 1."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def rows_of(base: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows [count, D] in the space of `base` [m, D], unit norm."""
    z = np.empty((count, base.shape[1]), np.float32)
    for start in range(0, count, AT_ONCE):
        part = z[start : start + AT_ONCE]
        weight = rng.random((len(part), 1), dtype=np.float32) / 2
        one, other = (base[rng.integers(len(base), size=len(part))] for _ in range(2))
        part[:] = (1 - weight) * one + weight * other
        part += rng.standard_normal(part.shape, dtype=np.float32) * np.float32(0.3 / base.shape[1] ** 0.5)
        part[:] = unit(part)
    return z


def timed(
    index: SearchIndex, queries: np.ndarray, where: Sequence[Condition] = ()
) -> tuple[list[float], list[list[int]], int]:
    """Milliseconds of each query, what was found, and how many of the queries the index answered."""
    index.nearest(queries[0], K, where)
    times, found, by_index = [], [], 0
    for query in queries:
        start = time.perf_counter()
        (rows, _), _, exact = index.nearest(query, K, where)
        times.append(1e3 * (time.perf_counter() - start))
        found.append([int(row) for row in rows])
        by_index += not exact
    return times, found, by_index


def measured(
    name: str, index: SearchIndex, exact: SearchIndex, queries: np.ndarray, share: str | None
) -> dict[str, Any]:
    """A line of the table: what the index does with these queries, beside the exact search."""
    where = [Condition(share, "=", "yes")] if share else []
    times, found, by_index = timed(index, queries, where)
    exact_times, _, _ = timed(exact, queries[:EXACT_QUERIES], where)
    true = [exact.nearest(query, K, where)[0][0] for query in queries]
    recall = np.mean([len(set(mine) & set(rows.tolist())) / len(rows) for mine, rows in zip(found, true, strict=True)])
    line = {
        "queries": len(queries),
        "by_index": by_index,
        "ms": round(float(np.median(times)), 2),
        "ms_p95": round(float(np.percentile(times, 95)), 2),
        "exact_ms": round(float(np.median(exact_times)), 2),
        "recall_at_10": round(float(recall), 4),
    }
    print(f"{name:12}" + "".join(f"{value:>14}" for value in line.values()), flush=True)
    return line


def main(argv: list[str]) -> None:
    """Measure, print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--quick", action="store_true", help="few rows, for tests")
    options = parser.parse_args(argv)
    count, rng = 25_000 if options.quick else options.rows, np.random.default_rng(0)
    encoder = minilm()
    texts = phrases(PHRASES + QUERIES, rng)
    base = encoder.encode("text", texts, output="numpy")
    queries = base[PHRASES:]
    z = rows_of(base[:PHRASES], count, rng)
    drawn = rng.random(count)
    columns = pa.table({name: pa.array(np.where(drawn < share, "yes", "no")) for name, share in SHARES.items()})
    info = {
        "model": "MiniLM", "fingerprint": encoder.fingerprint("text"), "modality": "text", "kind": "text", "root": "/",
        "dim": z.shape[1], "skipped": [],
    }  # fmt: skip
    names = [str(number) for number in range(count)]
    gap = unit(rng.standard_normal((1, z.shape[1])).astype(np.float32))
    sets = {
        "phrases": queries,
        "gap": unit(queries + gap),
        "items": z[rng.choice(count, QUERIES, replace=False)],
    }
    result: dict[str, Any] = {"benchmark": "search", "rows": count, "dim": z.shape[1]}
    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / "rows.parquet"
        start = time.perf_counter()
        write_embeddings(path, EmbeddedItems(names, list(names), z, info, columns))
        result["write_s"] = round(time.perf_counter() - start, 1)
        start = time.perf_counter()
        facts = write_index(path, z)
        result |= {"build_s": facts.seconds, "index_s": round(time.perf_counter() - start, 1)}
        result |= {"expansion": facts.expansion, "recall_said": facts.recall}
        result |= {"parquet_mb": path.stat().st_size >> 20, "index_mb": index_path(path).stat().st_size >> 20}
        del z
        loaded: list[SearchIndex] = []
        start = time.perf_counter()
        result["memory_mb"] = measure.bytes_over(lambda: loaded.append(open_search(path)), "cpu") >> 20
        result["load_s"] = round(time.perf_counter() - start, 1)
        [index] = loaded
        assert not index.notes, index.notes
        exact = SearchIndex(index.embedded)
        heads = ("queries", "by index", "median ms", "p95 ms", "exact ms", "recall@10")
        print(f"{count:,} x {info['dim']}, k = {K}\n{'':12}" + "".join(f"{head:>14}" for head in heads))
        for name, these in sets.items():
            result[name] = measured(name, index, exact, these, None)
        for share in SHARES:
            result[share] = measured(share, index, exact, queries, share)
        times = []
        for text in texts[PHRASES:]:
            start = time.perf_counter()
            index.query(encoder, text, k=K)
            times.append(1e3 * (time.perf_counter() - start))
        result["typed_ms"], result["typed_ms_p95"] = (round(float(np.percentile(times, p)), 1) for p in (50, 95))
        print(f"a typed text, MiniLM and search: median {result['typed_ms']} ms, p95 {result['typed_ms_p95']} ms")
    measure.finish(result | measure.machine())


if __name__ == "__main__":
    sys.exit(run_script(main))
