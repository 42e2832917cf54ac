"""Embeddings files that another program changed: refused in one line when they are opened, never searched wrongly."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xmodal.commands.cli import main
from xmodal.errors import UserError, run_script
from xmodal.evaluation.embeddings.export import METADATA, EmbeddedItems, read_embeddings, write_embeddings

INFO = {"model": "m", "fingerprint": "f", "modality": "text", "kind": "text", "root": "/x", "dim": 2, "skipped": []}
Z = np.asarray([[1, 0], [0, 1], [0.6, 0.8], [0, 0]], np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "e.parquet"
    write_embeddings(path, EmbeddedItems(list("abcd"), list("abcd"), Z, INFO))
    return path


def with_info(**other: Any) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.replace_schema_metadata({METADATA: json.dumps(INFO | other)})


def with_vectors(vectors: Any, kind: Any = None) -> Callable[[pa.Table], pa.Table]:
    kind = kind or pa.list_(pa.float32())
    return lambda table: table.set_column(2, "embedding", pa.array(vectors, kind))


NO = "holds no embeddings of xmodal ("


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda table: table.drop_columns(["embedding"]), NO + "no column 'embedding')"),
        (lambda table: table.drop_columns(["text"]), NO + "no column 'text')"),
        (with_info(modality=["text"]), NO + "its modality is \"['text']\")"),
        (with_info(root=None), NO + "its root is 'None')"),
        (with_vectors([[1, 0, 0], [1], [0.6, 0.8], [0, 1]]), NO + "not all of its embeddings have 2 numbers)"),
        (with_vectors([[1, 0], None, [0.6, 0.8], [0, 1]]), NO),
        (with_vectors(list(Z), pa.list_(pa.float32(), 2)), None),
        (with_vectors([*Z[:3], [0, 0.5]]), "embeddings that are not of length 1, so scores would be no cosines; "),
        (with_vectors(list(Z * 1e30)), "embeddings that are not of length 1"),
        (with_vectors(list(Z * np.nan)), "embeddings that are not finite"),
        (lambda table: table.slice(0, 0), "holds no item; make it again with xmodal embed --overwrite"),
    ],
)
def test_what_is_refused(path: Path, change: Callable[[pa.Table], pa.Table], told: str | None) -> None:
    pq.write_table(change(pq.read_table(path)), path)
    if told is None:
        np.testing.assert_array_equal(read_embeddings(path).z, Z)
        return
    with pytest.raises(UserError) as refused:
        read_embeddings(path)
    assert str(refused.value).startswith(f"{path}: {told}")
    assert "\n" not in str(refused.value)


def test_no_index_of_nothing(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("usearch", reason="needs the extra search")
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    assert run_script(main, ["index", str(path)]) == 2
    assert capsys.readouterr().err == f"error: {path}: holds no item; make it again with xmodal embed --overwrite\n"
    assert [file.name for file in path.parent.iterdir()] == ["e.parquet"]
