"""The embedding store: reads against plain indexing, resumed builds against uninterrupted ones, refusals."""

import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xmodal.errors import UserError
from xmodal.store import EmbeddingStore, StoreWriter, content_id, data_digest

FINGERPRINT = {
    "model": "tiny",
    "revision": None,
    "weights": "abc",
    "preprocessing": {"max_length": 64, "lower": True},
    "data": "d0",
}


def make(folder: Path, ids: np.ndarray, rows: np.ndarray, batch: int = 3, **other: object) -> EmbeddingStore:
    writer = StoreWriter(folder, ids, rows.shape[1], {**FINGERPRINT, **other}, "plan")
    for number in set(range(-(-len(ids) // batch))) - writer.done:
        positions = np.arange(number * batch, min((number + 1) * batch, len(ids)))
        writer.write(number, positions, rows[positions])
    return writer.finish({"numpy": np.__version__})


@pytest.fixture
def table() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    ids = np.sort(rng.choice(np.iinfo(np.int64).max, 50, replace=False) - 2**62)
    return ids, rng.standard_normal((50, 5)).astype(np.float32)


def test_content_id_is_blake2b_read_as_a_signed_number() -> None:
    for text, digest in (("", "e4a6a0577479b2b4"), ("Größe", "18dd5f1b141d0975")):  # printf %s TEXT | b2sum -l 64
        unsigned = sum(int(digest[2 * i : 2 * i + 2], 16) * 256**i for i in range(8))
        assert content_id(text) == content_id(text.encode()) == (unsigned + 2**63) % 2**64 - 2**63


def test_data_digest_ignores_order_and_sees_every_change() -> None:
    ids, contents = np.array([3, 1, 2]), np.array([30, 10, 20])
    order = np.array([2, 0, 1])
    assert data_digest(ids, contents) == data_digest(ids[order], contents[order])
    assert len({data_digest(ids, contents), data_digest(ids, contents[order]), data_digest(ids[:2], contents[:2])}) == 3


def test_rows_come_back_by_id(tmp_path: Path, table: tuple[np.ndarray, np.ndarray]) -> None:
    ids, rows = table
    store = make(tmp_path / "store", ids, rows)
    lookup = {int(i): row for i, row in zip(ids, rows, strict=True)}
    asked = np.random.default_rng(1).choice(ids, 200)  # with repeats
    np.testing.assert_array_equal(store.rows(asked), np.stack([lookup[int(i)] for i in asked]))
    assert (len(store), store.width, store.rows(asked).dtype) == (50, 5, np.float32)
    assert store.rows(np.array([], dtype=np.int64)).shape == (0, 5)
    np.testing.assert_array_equal(store.all_rows()[10:20], rows[10:20])
    assert len(store.all_rows()) == 50
    assert {path.name for path in (tmp_path / "store").iterdir()} == {"ids.npy", "rows.npy", "store.json"}


@pytest.mark.parametrize("n", [1, 2, 17, 40_000])
@pytest.mark.parametrize("spread", ["even", "bunched", "counted", "extreme"])
def test_ids_are_found_however_they_lie(tmp_path: Path, n: int, spread: str) -> None:
    rng = np.random.default_rng(n)
    largest = np.iinfo(np.int64).max
    ids = {
        "even": rng.integers(-largest, largest, n),
        "bunched": 2**40 + rng.integers(0, 3 * n, n),
        "counted": np.arange(n) - n // 2,
        "extreme": np.concatenate([rng.integers(-largest, largest, n), [-largest - 1, largest]]),
    }[spread]
    ids = np.unique(ids)
    store = make(tmp_path, ids, np.arange(len(ids), dtype=np.float32)[:, None], batch=len(ids))
    asked = np.concatenate([ids, ids + 1, ids - 1, [0, -largest - 1, largest]])  # wraps around at the ends
    known = np.isin(asked, ids)
    np.testing.assert_array_equal(store.contains(asked), known)
    np.testing.assert_array_equal(store.rows(asked[known])[:, 0], np.searchsorted(ids, asked[known]))


def test_rows_are_a_copy_and_the_store_cannot_be_written(tmp_path: Path, table: tuple[np.ndarray, np.ndarray]) -> None:
    store = make(tmp_path, *table)
    store.rows(store.ids)[:] = 0
    np.testing.assert_array_equal(store.rows(table[0]), table[1])
    with pytest.raises(ValueError, match="read-only"):
        store.all_rows()[:1] = 0


@pytest.mark.parametrize("unknown", ["below", "between", "above"])
def test_unknown_id_is_named(tmp_path: Path, table: tuple[np.ndarray, np.ndarray], unknown: str) -> None:
    ids, rows = table
    missing = {"below": ids[0] - 1, "between": ids[7] + 1, "above": ids[-1] + 1}[unknown]
    store = make(tmp_path, ids, rows)
    assert store.contains(np.array([ids[0], missing])).tolist() == [True, False]
    with pytest.raises(UserError, match=rf"holds no item {missing} \(1 of the 3 .*embed-frozen"):
        store.rows(np.array([ids[0], missing, ids[1]]))


def test_a_pickled_store_is_its_folder(tmp_path: Path, table: tuple[np.ndarray, np.ndarray]) -> None:
    store = make(tmp_path, *table)
    data = pickle.dumps(store)
    assert len(data) < 500  # a worker gets the path, not the rows
    np.testing.assert_array_equal(pickle.loads(data).rows(table[0]), table[1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "other"}, "made with model tiny, the config asks for other"),
        ({"revision": "91ab"}, "made with revision none, the config asks for 91ab"),
        ({"weights": "abd"}, "made with weights abc, the config asks for abd"),
        ({"preprocessing": {"max_length": 32, "lower": True}}, "preprocessing max_length 64, the config asks for 32"),
        ({"preprocessing": {"max_length": 64}}, "preprocessing lower True, the config asks for none"),
        ({"data": "d1"}, "made from other data (digest d0) than the config's manifest has now (d1)"),
    ],
)
def test_a_store_made_otherwise_is_refused_by_name(
    tmp_path: Path, table: tuple[np.ndarray, np.ndarray], change: dict, said: str
) -> None:
    store = make(tmp_path, *table)
    store.check(FINGERPRINT)
    with pytest.raises(UserError) as error:
        store.check({**FINGERPRINT, **change})
    line = str(error.value)
    assert said in line
    assert line.startswith(f"{tmp_path}: ")
    assert line.endswith("run xmodal embed-frozen again")
    assert "\n" not in line


def test_every_difference_has_its_own_line(tmp_path: Path, table: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(UserError) as error:
        make(tmp_path, *table).check({"model": 1, "revision": 2, "weights": 3, "preprocessing": {}, "data": 5})
    assert len(str(error.value).splitlines()) == 5


def test_damaged_or_foreign_files_are_refused(tmp_path: Path, table: tuple[np.ndarray, np.ndarray]) -> None:
    ids, rows = table

    def refused(match: str) -> None:
        with pytest.raises(UserError, match=match) as error:
            EmbeddingStore.open(tmp_path)
        assert "\n" not in str(error.value)
        assert "embed-frozen" in str(error.value)

    refused("no store there")
    make(tmp_path, ids, rows)
    whole = (tmp_path / "rows.npy").read_bytes()
    (tmp_path / "rows.npy").write_bytes(whole[:-4])  # truncated
    refused(r"rows\.npy: cannot be read")
    np.save(tmp_path / "rows.npy", rows[:-1])
    refused(r"holds float32 \[49, 5\], expected float32 \[50, 5\]")
    np.save(tmp_path / "rows.npy", rows.astype(np.float64))
    refused("holds float64")
    np.save(tmp_path / "rows.npy", np.asfortranarray(rows))
    refused("holds float32")
    np.save(tmp_path / "rows.npy", np.array([[object()]]), allow_pickle=True)
    refused(r"rows\.npy: cannot be read")
    (tmp_path / "rows.npy").write_bytes(pickle.dumps(rows))
    refused(r"rows\.npy: cannot be read")
    (tmp_path / "rows.npy").unlink()
    refused(r"rows\.npy: cannot be read")
    (tmp_path / "rows.npy").write_bytes(whole)
    EmbeddingStore.open(tmp_path)
    info = json.loads((tmp_path / "store.json").read_text())
    (tmp_path / "store.json").write_text(json.dumps({**info, "version": 99}))
    refused(
        r"version 99, this xmodal reads up to 2 \(made by a newer xmodal: update this one, or make the store again\)"
    )
    (tmp_path / "store.json").write_text("{")
    refused("not the description of a store")


KILLED = """
import sys, numpy as np
from pathlib import Path
from xmodal.store import StoreWriter
ids = np.arange(40) * 7 - 100
order = np.random.default_rng(3).permutation(40)
fingerprint = dict(model="tiny", revision=None, weights="abc", preprocessing={}, data="d0")
writer = StoreWriter(Path(sys.argv[1]), ids, 6, fingerprint, "plan", save_every=0 if sys.argv[2] == "each" else 1e9)
print("from", len(writer.done), flush=True)
for batch in sorted(set(range(10)) - writer.done):
    positions = order[4 * batch : 4 * batch + 4]
    writer.write(batch, positions, np.sin(ids[positions, None] * np.arange(1, 7)).astype(np.float32))
    print(batch, flush=True)
    if batch == 5 and len(sys.argv) > 3:
        sys.stdin.read()  # waits to be killed
writer.finish({})
"""


@pytest.mark.parametrize(("saves", "resumed"), [("each", 6), ("never", 0)])
def test_killed_and_resumed_rows_are_bit_identical(tmp_path: Path, saves: str, resumed: int) -> None:
    command = [sys.executable, "-c", KILLED]
    with subprocess.Popen(
        [*command, tmp_path / "a", saves, "wait"], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        while process.stdout.readline().strip() != "5":
            assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(UserError, match="unfinished"):
        EmbeddingStore.open(tmp_path / "a")
    again = subprocess.run([*command, tmp_path / "a", saves], capture_output=True, text=True, check=True)
    assert again.stdout.startswith(f"from {resumed}\n")
    subprocess.run([*command, tmp_path / "b", saves], capture_output=True, check=True)
    for name in ("rows.npy", "ids.npy", "store.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    ids = np.arange(40) * 7 - 100
    expected = np.sin(ids[:, None] * np.arange(1, 7)).astype(np.float32)
    np.testing.assert_array_equal(EmbeddingStore.open(tmp_path / "a").rows(ids), expected)


@pytest.mark.parametrize("change", ["weights", "ids", "plan", "width", "a part damaged"])
def test_another_build_does_not_resume_this_one(
    tmp_path: Path, table: tuple[np.ndarray, np.ndarray], change: str
) -> None:
    ids, rows = table
    begun = StoreWriter(tmp_path, ids, 5, FINGERPRINT, "plan")
    begun.write(0, np.arange(3), rows[:3])
    begun.save()
    assert StoreWriter(tmp_path, ids, 5, FINGERPRINT, "plan").done == {0}
    if change == "a part damaged":
        [part] = (tmp_path / "parts").iterdir()
        part.write_bytes(part.read_bytes()[:-9])
    fingerprint = {**FINGERPRINT, "weights": "new"} if change == "weights" else FINGERPRINT
    other = StoreWriter(
        tmp_path,
        ids - 1 if change == "ids" else ids,
        4 if change == "width" else 5,
        fingerprint,
        "other plan" if change == "plan" else "plan",
    )
    assert other.done == set()


def test_making_a_store_again_leaves_open_readers_their_rows(
    tmp_path: Path, table: tuple[np.ndarray, np.ndarray]
) -> None:
    ids, rows = table
    old = make(tmp_path, ids, rows)
    new = make(tmp_path, ids, rows + 1, weights="new")
    np.testing.assert_array_equal(old.rows(ids), rows)
    np.testing.assert_array_equal(new.rows(ids), rows + 1)


def test_no_room_on_the_disk_is_said_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs \d+\.\d GB, the disk has \d+\.\d GB free"):
        StoreWriter(tmp_path, np.arange(1000), 10**13, FINGERPRINT, "plan")
