import json
import os
import re

import numpy as np
import pandas as pd
import pytest

from xmodal.data.manifest import read_manifest
from xmodal.errors import UserError
from xmodal.files import write_json_lines
from xmodal.store import content_id

ROWS = [
    {"id": "a", "text": "lights on", "speech": "a.wav", "label": "light", "take": 1},
    {"id": "b", "text": "lights off", "speech": "b.wav", "label": None, "take": 2},
    {"id": "c", "text": "écoute ça", "speech": "c.wav", "label": "music", "take": 3},
]


def write(path, rows):
    if path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    else:
        write_json_lines(path, rows)


@pytest.mark.parametrize("name", ["m.jsonl", "m.parquet"])
def test_rows_come_back_as_written(tmp_path, name):
    write(tmp_path / name, ROWS)
    assert list(read_manifest(tmp_path / name, ["text", "speech"])) == ROWS


def test_strings_stay_as_written(tmp_path):
    # What type-guessing readers turn into numbers and timestamps.
    (tmp_path / "m.jsonl").write_text(
        '{"id": "007", "text": "2020-01-01", "label": 3, "text_id": 1}\n\n'
        '{"id": 8, "text": "2021-01-01", "label": 3.5, "text_id": "one"}\n'
    )
    manifest = read_manifest(tmp_path / "m.jsonl", ["text"])
    assert manifest["id"][:] == ["007", "8"]
    assert manifest["text"][:] == ["2020-01-01", "2021-01-01"]
    assert manifest["label"][:] == ["3", "3.5"]
    assert manifest["text_id"][:] == ["1", "one"]


def test_parquet_numbers_become_strings_and_nan_is_null(tmp_path):
    frame = pd.DataFrame({"id": [1, 2], "text": ["x", "y"], "label": ["p", None], "take": [1.5, None]})
    frame.to_parquet(tmp_path / "m.parquet")
    manifest = read_manifest(tmp_path / "m.parquet", ["text"])
    assert manifest["id"][:] == ["1", "2"]
    assert manifest["label"][:] == ["p", None]
    pd.DataFrame({"id": ["a", "b"], "text": [1.5, float("nan")]}).to_parquet(tmp_path / "n.parquet")
    with pytest.raises(UserError, match=r"'text' is null in 1 of 2 rows \(rows 2\)"):
        read_manifest(tmp_path / "n.parquet", ["text"])


def test_other_columns_may_be_ragged_or_mixed(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"id": "a", "n": 1}\n{"id": "b", "n": "two", "x": [1]}\n')
    assert list(read_manifest(tmp_path / "m.jsonl")) == [
        {"id": "a", "n": "1", "x": None},
        {"id": "b", "n": "two", "x": [1]},
    ]


@pytest.mark.parametrize("name", ["m.jsonl", "m.parquet"])
def test_a_changed_file_is_read_anew(tmp_path, name):
    path = tmp_path / name
    write(path, ROWS)
    before = path.stat()
    assert read_manifest(path)["text"][0] == "lights on"
    write(path, [{**ROWS[0], "text": "lights no"}, *ROWS[1:]])  # same length
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # same time
    assert read_manifest(path)["text"][0] == "lights no"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "m.jsonl: empty, expected at least one row"),
        ("\n\n", "m.jsonl: empty"),
        ('{"id": "a", "text": "x"}\n{"id": "b", "text"\n', "line 2 is not JSON"),
        ('[{"id": "a", "text": "x"}]\n', "line 1 is a list, expected one JSON object per line"),
        ("id,text\na,x\n", "line 1 is not JSON"),
        ('{"id": "a", "text": ["x"]}\n', "line 1: 'text' is a list, expected a string"),
        ('{"id": "a", "txt": "x", "n": 1}\n', r"missing column 'text' \(did you mean 'txt'\?\); found: id, txt, n"),
        ('{"text": "x"}\n', "missing column 'id'; found: text"),
        ('{"id": "a", "text": "x"}\n{"id": "b"}\n', r"'text' is null in 1 of 2 rows \(rows 2\)"),
        ('{"id": NaN, "text": "x"}\n', "'id' is null in 1 of 1 rows"),
    ],
)
def test_what_is_wrong_and_where(tmp_path, content, message):
    (tmp_path / "m.jsonl").write_text(content)
    with pytest.raises(UserError, match=message) as error:
        read_manifest(tmp_path / "m.jsonl", ["text"])
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_bytes_that_are_not_utf8(tmp_path):
    (tmp_path / "m.jsonl").write_bytes(b'{"id": "a"}\n{"id": "\xff"}\n')
    with pytest.raises(UserError, match=r"line 2 is not JSON \(not UTF-8\)"):
        read_manifest(tmp_path / "m.jsonl")


def test_a_missing_file_names_the_command_that_makes_it(tmp_path):
    message = re.escape("no such file, expected a manifest (JSONL, CSV or parquet) or a folder; make it with: x")
    with pytest.raises(UserError, match=message):
        read_manifest(tmp_path / "m.jsonl", made_by="x")
    with pytest.raises(UserError, match=r"expected \*.tar, \*.parquet, or class folders"):
        read_manifest(tmp_path)


def test_a_broken_parquet_file(tmp_path):
    (tmp_path / "m.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(UserError, match="not a readable parquet file"):
        read_manifest(tmp_path / "m.parquet")


def test_duplicate_ids_name_the_first_three(tmp_path):
    ids = ["a", "b", "c", "d", "e", "d", "c", "b", "a", "a"]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps({"id": i}) + "\n" for i in ids))
    with pytest.raises(UserError, match=re.escape("4 ids occur more than once ('a', 'b', 'c', ...)")):
        read_manifest(tmp_path / "m.jsonl")


def test_item_ids_come_from_their_column_or_the_content(tmp_path):
    rows = [{"id": str(n), "text": t, "speech": "x.wav", "speech_id": s} for n, (t, s) in enumerate(["pu", "qu", "pv"])]
    write(tmp_path / "m.jsonl", rows)
    manifest = read_manifest(tmp_path / "m.jsonl", ["text", "speech"])
    text, speech = manifest.item_ids("text", "text"), manifest.item_ids("speech", "speech")
    assert text.dtype == np.int64
    assert text.tolist() == [content_id(t) for t in "pqp"]
    assert speech.tolist() == [content_id(s) for s in "uuv"]
    assert manifest.strings("text").to_pylist() == list("pqp")
    write(tmp_path / "m.jsonl", [{"id": "a", "text": "x", "text_id": None}])
    with pytest.raises(UserError, match="'text_id': 1 of 1 values are null"):
        read_manifest(tmp_path / "m.jsonl", ["text"]).item_ids("text", "text")
