"""A manifest's other columns: which of them are kept, and the items that conditions on them leave."""

import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from colour_encoder import colour_encoder, paint

from xmodal.errors import UserError
from xmodal.evaluation.embeddings.columns import condition_of, kept_columns, rows_where
from xmodal.evaluation.embeddings.export import embed_items, read_embeddings, write_embeddings
from xmodal.evaluation.embeddings.found_items import find_items
from xmodal.evaluation.embeddings.search import SearchIndex
from xmodal.files import write_json_lines

TABLE = pa.table(
    {
        "speaker": ["anna", "ben", None, "anna"],
        "year": [2020, 2021, 2022, None],
        "snr": pa.array([0.1, 0.5, 2.0, 3.0], pa.float32()),
        "clean": [True, False, True, None],
        "large": [2**53 + 1, 3, 2, 4],
        "larger": pa.array([3, 2**63 + 5, 0, 1], pa.uint64()),
        "small": pa.array([1, 2, -3, None], pa.int8()),
        "half": pa.array(np.array([1.5, 2, np.nan, 1.5], np.float16)),
        "tags": [["a"], [], ["b"], None],
    }
)


@pytest.mark.parametrize(
    ("conditions", "rows"),
    [
        (["speaker=anna"], [0, 3]),
        (["speaker!=anna"], [1]),
        (["speaker = anna", "year<=2020"], [0]),
        (["year>2020"], [1, 2]),
        (["year=2021.0"], [1]),
        (["year<2020.5"], [0]),
        (["snr=0.1"], [0]),
        (["snr>=0.5", "snr<3"], [1, 2]),
        (["clean=True"], [0, 2]),
        (["speaker=a=b"], []),
        (["speaker==anna"], [0, 3]),
        (["large>2.5"], [0, 1, 3]),  # 2^53 + 1 is no float64
        (["large=9007199254740993"], [0]),
        (["larger>2"], [0, 1]),  # 2^63 + 5 is no int64
        (["larger>-1"], [0, 1, 2, 3]),
        (["larger=9223372036854775813"], [1]),
        (["small<300"], [0, 1, 2]),  # more than the column could hold
        (["half>1.5"], [1]),
        (["half!=1.5"], [1]),  # neither NaN nor nothing is a value
    ],
)
def test_conditions(conditions: list[str], rows: list[int]) -> None:
    assert rows_where(TABLE, [condition_of(text) for text in conditions]).tolist() == rows


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("anna", r"where: found 'anna', expected COLUMN=VALUE"),
        ("=anna", r"where: found '=anna', expected COLUMN=VALUE"),
        ("voice=anna", r"where: no column 'voice'; the embeddings have speaker, year, snr, clean, large"),
        ("year=old", r"where: year=old: the column holds numbers, found 'old'"),
        ("tags=a", r"where: tags=a: the column holds list<item: string>, neither text nor number"),
        ("clean=1", r"where: clean=1: the column is true or false, found '1'"),
    ],
)
def test_conditions_that_cannot_be_met(condition: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        rows_where(TABLE, [condition_of(condition)])


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    for colour in ("red", "green", "blue"):
        paint(tmp_path / f"{colour}.png", colour)
    rows = [
        {"id": "1", "image": "red.png", "by": "anna", "year": 2020, "path": "x", "tags": ["a", "b"]},
        {"id": "2", "image": "green.png", "by": "ben", "year": 2021, "path": "y", "tags": ["a"]},
        {"id": "3", "image": "red.png", "by": "cleo", "year": 2020, "path": "x", "tags": []},
        {"id": "4", "image": "blue.png", "by": "anna", "year": 2022, "path": "z", "tags": []},
    ]
    write_json_lines(tmp_path / "photos.jsonl", rows)
    return tmp_path / "photos.jsonl"


def test_columns_of_a_manifest_filter_the_search(manifest: Path, tmp_path: Path) -> None:
    encoder, found = colour_encoder(), find_items(manifest, "image", "image")
    assert found.columns.to_pydict() == {"by": ["anna", "ben", "anna"], "year": [2020, 2021, 2022]}
    assert found.notes == [
        "column 'path' is left out: the file has a column of its own with this name; rename it",
        "column 'tags' is left out: list<item: string>, neither text nor number",
        "1 rows name an item again with other values in their columns: the first row's are kept",
    ]
    (tmp_path / "green.png").write_bytes(b"broken")  # its row of the columns goes with it
    write_embeddings(tmp_path / "photos.parquet", embed_items(encoder, "image", found))
    assert pq.read_schema(tmp_path / "photos.parquet").names == ["id", "path", "by", "year", "embedding"]
    index = SearchIndex(read_embeddings(tmp_path / "photos.parquet"))
    assert index.embedded.columns.to_pydict() == {"by": ["anna", "anna"], "year": [2020, 2022]}

    def ids(*conditions: str) -> list[str]:
        return [h.id for h in index.query(encoder, "red", where=[condition_of(c) for c in conditions]).hits]

    assert ids() == ["1", "4"]
    assert ids("year>2020") == ids("id=4") == ids("path=blue.png") == ["4"]
    assert ids("by=anna", "year=2021") == []
    with pytest.raises(UserError, match=r"^where: no column 'tags'; the embeddings have id, path, by, year$"):
        ids("tags=a")


def test_types_of_parquet_manifests(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": ["a", "b"],
            "text": ["red", "blue"],
            "kind": pa.array(["x", "y"]).dictionary_encode(),
            "day": [datetime.date(2024, 1, 31), datetime.date(2024, 2, 1)],
            "raw": [b"1", b"2"],
            "half": pa.array(np.array([0.5, np.nan], np.float16)),
        }
    )
    pq.write_table(table, tmp_path / "texts.parquet")
    found = find_items(tmp_path / "texts.parquet", "text", "text")
    assert found.columns.to_pydict() == {
        "kind": ["x", "y"],
        "day": ["2024-01-31", "2024-02-01"],
        "half": [0.5, None],
    }
    assert rows_where(found.columns, [condition_of("day>=2024-02")]).tolist() == [1]
    assert found.notes == ["column 'raw' is left out: binary, neither text nor number"]


def test_columns_that_arrow_makes_no_text_of() -> None:
    odd = {"gap": pa.array([pa.MonthDayNano([1, 2, 3])]), "day": pa.array([0], pa.timestamp("s", "No/Where"))}
    kept, notes = kept_columns(pa.table(odd), "text", "text")
    assert kept.num_columns == 0
    assert notes == [
        "column 'gap' is left out: month_day_nano_interval, neither text nor number",
        "column 'day' is left out: timestamp[s, tz=No/Where], neither text nor number",
    ]


def test_nan_twice_is_the_same_value(tmp_path: Path) -> None:
    rows = {"id": ["1", "2", "3"], "text": ["red", "red", "red"], "snr": [np.nan, np.nan, 0.5]}
    pq.write_table(pa.table(rows), tmp_path / "texts.parquet")
    assert find_items(tmp_path / "texts.parquet", "text", "text").notes == [
        "1 rows name an item again with other values in their columns: the first row's are kept"
    ]


def test_embeddings_that_earlier_versions_wrote(tmp_path: Path) -> None:
    """Three columns, one row group, compressed; and ones that another program has written anew."""
    paint(tmp_path / "photos" / "red.png", "red")
    done = embed_items(colour_encoder(), "image", find_items(tmp_path / "photos", "image", "image"))
    write_embeddings(tmp_path / "now.parquet", done)
    table = pq.read_table(tmp_path / "now.parquet").select(["id", "path", "embedding"])
    pq.write_table(table, tmp_path / "earlier.parquet")
    back = read_embeddings(tmp_path / "earlier.parquet")
    assert (back.ids, back.values, back.columns.num_columns) == (["red.png"], ["red.png"], 0)
    np.testing.assert_array_equal(back.z, done.z)
    holes = table.set_column(2, "embedding", pa.FixedSizeListArray.from_arrays(pa.array([1, np.nan, 0], "float32"), 3))
    pq.write_table(holes.replace_schema_metadata(table.schema.metadata), tmp_path / "holes.parquet")
    with pytest.raises(UserError, match=r"holes\.parquet: embeddings that are not finite"):
        read_embeddings(tmp_path / "holes.parquet")
    frame = pd.DataFrame({"id": ["a"], "path": ["b"], "embedding": [[0.0, 1.0]]})
    other = pa.Table.from_pandas(frame).replace_schema_metadata(table.schema.metadata)
    pq.write_table(other, tmp_path / "short.parquet")
    with pytest.raises(UserError, match=r"short\.parquet: holds no embeddings of xmodal"):
        read_embeddings(tmp_path / "short.parquet")
