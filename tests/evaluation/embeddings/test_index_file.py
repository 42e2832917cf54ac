"""An index beside the embeddings: what it finds against sorting all cosines, and when it is not used."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xmodal.errors import UserError
from xmodal.evaluation.embeddings import index_file, search
from xmodal.evaluation.embeddings.columns import condition_of
from xmodal.evaluation.embeddings.export import EmbeddedItems, read_embeddings, write_embeddings
from xmodal.evaluation.embeddings.index_file import (
    check_index_target,
    check_index_wanted,
    index_beside,
    open_index,
    write_index,
)
from xmodal.evaluation.embeddings.index_recall import exact_limits, query_sets, recall_of
from xmodal.evaluation.embeddings.search import SearchIndex, open_search

pytest.importorskip("usearch", reason="needs the extra search")

COUNT, D = 2_500, 24


def items(seed: int = 0) -> EmbeddedItems:
    """Clusters of 25 around 100 centres, in order: cluster c has rows 25c to 25c + 24."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((COUNT // 25, D))
    z = np.repeat(centres, 25, axis=0) + 0.4 * rng.standard_normal((COUNT, D))
    z = (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)
    names = [str(n) for n in range(COUNT)]
    info = {"model": "m", "fingerprint": "f", "modality": "text", "kind": "text", "root": "/", "dim": D, "skipped": []}
    columns = pa.table({"half": np.arange(COUNT) % 2, "cluster": np.arange(COUNT) // 25})
    return EmbeddedItems(names, list(names), z, info, columns)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("index") / "rows.parquet"
    write_embeddings(path, items())
    write_index(path, items().z)
    return path


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    for file in made.parent.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path / made.name


def queries() -> np.ndarray:
    z = np.random.default_rng(5).standard_normal((40, D)).astype(np.float32)
    return np.asarray(z / np.linalg.norm(z, axis=1, keepdims=True))


def test_the_index_finds_what_the_exact_search_finds(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "FEW", 100)
    index = open_search(made)
    assert index.notes == ()
    assert index.index is not None
    assert min(index.index.facts.recall.values()) > 0.97
    z, found = index.embedded.z, 0
    for query in queries():
        (rows, scores), searched, exact = index.nearest(query, 10)
        assert (searched, exact) == (COUNT, False)
        np.testing.assert_allclose(scores, z[rows] @ query, atol=1e-6)
        found += len(set(rows.tolist()) & set(np.argsort(-(z @ query))[:10].tolist()))
    assert found / 400 > 0.97


def test_recall_is_that_of_a_count_by_hand(made: Path) -> None:
    opened, z = open_index(made, items().z), items().z
    assert isinstance(opened, index_file.VectorIndex)
    opened.graph.expansion_search = 10  # so few that it misses some
    for name, these in query_sets(z).items():
        shares = []
        for query, own in zip(these.queries, these.own, strict=True):
            true = [row for row in np.argsort(-(z @ query)) if row != own][:10]
            mine = opened.graph.search(query, 10).keys.astype(int).tolist()
            shares.append(len(set(true) & set(mine)) / 10)
        counted = recall_of(opened.graph, z, these, exact_limits(z, these))
        assert counted == pytest.approx(np.mean(shares), abs=0.005), name  # a mean of two is as near to either
        assert np.mean(shares) < 1


def test_filters_miss_nothing(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "FEW", 20)
    index = open_search(made)
    z, half, cluster = index.embedded.z, np.arange(COUNT) % 2, np.arange(COUNT) // 25
    ways = []
    for text, meets in (("half=1", half == 1), ("cluster=7", cluster == 7), ("cluster<60", cluster < 60)):
        for query in (*queries()[:8], z[1500]):  # row 1500 is of cluster 60: hardly any of its nearest pass the last
            (rows, _), searched, exact = index.nearest(query, 10, [condition_of(text)])
            allowed = np.flatnonzero(meets)
            true = allowed[np.argsort(-(z[allowed] @ query))[:10]]
            assert set(rows.tolist()) <= set(allowed.tolist())
            assert len(set(rows.tolist()) & set(true.tolist())) >= 9
            assert searched == len(allowed)
            ways.append(exact)
    assert not all(ways)
    far = np.flatnonzero(cluster >= 20)
    assert index.index is not None
    index.index = replace(index.index, facts=replace(index.index.facts, expansion=25))  # row 0's own cluster, no more
    (rows, _), _, exact = index.nearest(z[0], 10, [condition_of("cluster>=20")])
    assert exact  # too few of what the index found passed: all that pass were compared
    assert rows.tolist() == far[np.argsort(-(z[far] @ z[0]), kind="stable")[:10]].tolist()
    monkeypatch.setattr(search, "MOST", 256)
    (rows, _), searched, exact = index.nearest(z[0], 2_000)  # more hits than the index is asked for
    assert (len(rows), searched, exact) == (2_000, COUNT, True)
    assert rows[:5].tolist() == np.argsort(-(z @ z[0]))[:5].tolist()


def test_an_index_of_other_embeddings_is_not_used(path: Path) -> None:
    other = items(seed=1)
    write_embeddings(path, other, overwrite=True)  # the file is made anew, the index stays
    index = open_search(path)
    assert index.index is None
    [note] = index.notes
    assert note.startswith(f"{path.with_suffix('.usearch')}: the index of other embeddings than those in rows.parquet;")
    assert note.endswith(f"make it again with: xmodal index {path}")
    (rows, _), _, exact = index.nearest(other.z[3], 2)
    assert (rows[0], exact) == (3, True)
    table = pq.read_table(path)  # one row less, by another program, which keeps what stands in the schema
    pq.write_table(table.slice(1), path)
    assert open_search(path).index is None
    write_index(path, read_embeddings(path).z)
    assert open_search(path).notes == ()


@pytest.mark.parametrize("change", ["cut", "flipped", "foreign", "empty"])
def test_a_damaged_index_is_not_used(path: Path, change: str) -> None:
    file = path.with_suffix(".usearch")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes({"cut": data[:-1000], "flipped": data, "foreign": b"x" * 5000, "empty": b""}[change])
    index = open_search(path)
    assert index.index is None
    [note] = index.notes
    assert ("damaged" if change == "flipped" else "no index of xmodal's, or cut short") in note
    assert index.nearest(items().z[3], 1)[0][0].tolist() == [3]
    assert ("move it, then make it again with" in note) == (change != "flipped")
    if "move it" in note:
        with pytest.raises(UserError, match="in the way"):
            check_index_target(file)
        file.rename(path.with_name("moved"))
    check_index_target(file)  # what the note says can be done: the command has nothing against it


def test_what_an_index_may_replace(path: Path, tmp_path: Path) -> None:
    z, file = items().z, path.with_suffix(".usearch")
    assert index_beside(path, z, wanted=None) == f"{file}: removed, it was the index of other embeddings"  # too few
    assert not file.exists()
    assert index_beside(path, z, wanted=None) is None
    told = index_beside(path, z, wanted=True)
    assert told is not None
    assert told.startswith(f"{file}: index of 2,500 items in ")
    assert "queries each" in told
    file.write_text("mine")
    for action in (lambda: write_index(path, z), lambda: check_index_wanted(path, None)):
        with pytest.raises(UserError, match=r"rows\.usearch: in the way, and no index of xmodal's"):
            action()
    assert index_beside(path, z, wanted=False) is None
    assert file.read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rows.parquet", "rows.usearch"]
    with pytest.raises(UserError, match=r"x\.npy: an index goes beside a parquet file"):
        check_index_wanted(tmp_path / "x.npy", True)


def test_without_usearch(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_file, "has_index", lambda: False)
    monkeypatch.setattr(index_file, "PAYS", 1_000)
    [note] = open_search(path).notes
    assert "needs usearch, not installed here; searched without it; pip install 'xmodal[search]'" in note
    with pytest.raises(UserError, match=r"an index needs usearch, not installed here; pip install 'xmodal\[search\]'"):
        check_index_wanted(path, True)
    index_beside(path, items().z, wanted=False)
    told = index_beside(path, items().z, wanted=None)
    assert (
        told == "no index: usearch is not installed; every search goes through all items; pip install 'xmodal[search]'"
    )


def test_threads_get_the_same_answers(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "FEW", 20)
    index, asked = open_search(made), [*queries()] * 5

    def rows(query: np.ndarray) -> list[int]:
        (found, _), _, exact = index.nearest(query, 10)
        assert not exact
        return found.tolist()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(rows, asked)) == [rows(query) for query in asked]


def test_usearch_opens_the_file_too(made: Path) -> None:
    from usearch.index import Index

    graph = Index.restore(str(made.with_suffix(".usearch")))
    assert len(graph) == COUNT
    assert SearchIndex(items()).index is None
