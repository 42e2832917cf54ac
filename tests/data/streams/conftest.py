"""What tests of streams share."""

import tarfile

import datasets
import pytest
from streamed_pairs import add, png


@pytest.fixture(autouse=True)
def no_rest(monkeypatch):
    """`datasets` waits 5 s for its reading threads at the end of every shuffled parquet stream."""
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0.05, raising=False)  # newer ones


@pytest.fixture
def tars(tmp_path):
    """Two shards of ten samples as img2dataset writes them; sample 13 is broken."""
    folder = tmp_path / "tars"
    folder.mkdir()
    for shard in range(2):
        with tarfile.open(folder / f"{shard:05}.tar", "w") as tar:
            for n in range(10 * shard, 10 * shard + 10):
                image = b"broken" if n == 13 else png(10 * n)
                add(tar, f"{n:09}.png", image)
                add(tar, f"{n:09}.txt", f"number {n}".encode())
                add(tar, f"{n:09}.json", b"{}")
    return folder
