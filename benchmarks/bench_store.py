"""Reading rows from an `EmbeddingStore` by item id, against `numpy.memmap` fancy indexing by known position.

    python benchmarks/bench_store.py            # a million rows of 512 floats (2 GB on disk, removed afterwards)
    python benchmarks/bench_store.py --quick    # 20,000 rows

Claim: 512 random rows of a warm store take at most twice what fancy indexing of the bare memory map takes, the search
for the ids included. Both read in turns, in one process. Prints a table and, last, one JSON line;
`store_over_memmap` is the median of the ratios.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import measure
import numpy as np

from xmodal.errors import run_script
from xmodal.store import EmbeddingStore, StoreWriter

WIDTH, READ = 512, 512  # floats of a row, rows of a read
FINGERPRINT = {"model": "random", "revision": None, "weights": "", "preprocessing": {}, "data": ""}


def make_store(folder: Path, rows: int) -> EmbeddingStore:
    """A store of random rows under random ids."""
    rng = np.random.default_rng(0)
    ids = np.unique(rng.integers(-(2**63), 2**63 - 1, rows, dtype=np.int64))
    writer = StoreWriter(folder, ids, WIDTH, FINGERPRINT, "random")
    for batch, start in enumerate(range(0, len(ids), 10_000)):
        positions = np.arange(start, min(start + 10_000, len(ids)))
        writer.write(batch, positions, rng.standard_normal((len(positions), WIDTH), dtype=np.float32))
    return writer.finish({"numpy": np.__version__})


def main(argv: list[str]) -> None:
    """Measure, print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small store and few reads, for tests")
    options = parser.parse_args(argv)
    rows, reads = (20_000, 40) if options.quick else (1_000_000, 1_000)
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder), rows)
        memmap = np.lib.format.open_memmap(Path(folder) / "rows.npy", mode="r")
        warm = float(memmap.sum(dtype=np.float64))  # every page is in memory from here on
        rng = np.random.default_rng(1)
        # each gets positions the other has not just pulled into the processor's cache
        there, here = rng.integers(len(store), size=(2, reads + 1, READ))
        ids = store.ids[here]
        turns = {"numpy.memmap": iter(there), "EmbeddingStore": iter(ids)}
        times = measure.seconds_in_turns(
            {
                "numpy.memmap": lambda: memmap[next(turns["numpy.memmap"])],
                "EmbeddingStore": lambda: store.rows(next(turns["EmbeddingStore"])),
            },
            reads,
        )
        assert np.isfinite(warm)
        np.testing.assert_array_equal(store.rows(ids[0]), memmap[here[0]])
    print(f"{READ} random rows of {WIDTH} floats from {len(store):,}, {reads} reads")
    print(measure.table(times))
    measure.finish(
        {
            "benchmark": "store",
            "rows": len(store),
            "store_over_memmap": measure.ratio(times, "EmbeddingStore", "numpy.memmap"),
            "numpy": np.__version__,
            **measure.machine(),
        }
    )


if __name__ == "__main__":
    sys.exit(run_script(main))
