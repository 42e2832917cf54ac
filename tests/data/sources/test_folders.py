"""Folders as users have them: links, unusual columns, names that are no text."""

import io
import tarfile

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from xmodal.config.data import TextModality
from xmodal.data.manifest import read_manifest, read_pairs
from xmodal.data.sources.folders import holds_class_folders
from xmodal.data.sources.tar_index import find_tars
from xmodal.errors import UserError


def write_tar(path, *names):
    picture = io.BytesIO()
    Image.new("RGB", (4, 4)).save(picture, "PNG")
    with tarfile.open(path, "w") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            data = picture.getvalue() if name.endswith("png") else b"a caption"
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def test_links_to_folders_are_followed(tmp_path):
    for name in ("far/a/0.png", "far/b/deep/1.png", "far/more/2.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "set" / "b").mkdir(parents=True)
    (tmp_path / "set" / "a").symlink_to(tmp_path / "far" / "a")  # a class folder
    (tmp_path / "set" / "b" / "linked").symlink_to(tmp_path / "far" / "b")  # a folder in one
    (tmp_path / "far" / "b" / "up").symlink_to(tmp_path / "set")  # and back
    assert read_manifest(tmp_path / "set", ["image"])["image"] == ["a/0.png", "b/linked/deep/1.png"]
    (tmp_path / "tars").mkdir()
    (tmp_path / "shards").mkdir()
    write_tar(tmp_path / "shards" / "0.tar", "0.png", "0.txt")
    (tmp_path / "tars" / "part").symlink_to(tmp_path / "shards")
    assert not holds_class_folders(tmp_path / "tars")
    assert read_manifest(tmp_path / "tars", ["image"])["id"] == ["part/0/0"]
    (tmp_path / "tars" / "part" / "1.tar").symlink_to(tmp_path / "gone.tar")
    with pytest.raises(UserError, match=r"1\.tar: a link to a file that is not there; mend or remove it"):
        find_tars(tmp_path / "tars")
    (tmp_path / "tables").mkdir()
    pd.DataFrame({"text": ["x"]}).to_parquet(tmp_path / "far" / "more" / "0.parquet")
    (tmp_path / "tables" / "more").symlink_to(tmp_path / "far" / "more")
    assert read_manifest(tmp_path / "tables", ["text"])["text"] == ["x"]


@pytest.mark.parametrize("start", ["\n", "\n\r\n", "\ufeff", "\ufeff\n"])
def test_a_csv_that_begins_with_nothing_keeps_its_values(tmp_path, start):
    (tmp_path / "m.csv").write_text(f"{start}id,text,date\n007,1.50,2026-01-31\n008,true,\n", encoding="utf-8")
    assert list(read_manifest(tmp_path / "m.csv", ["text"])) == [
        {"id": "007", "text": "1.50", "date": "2026-01-31"},
        {"id": "008", "text": "true", "date": None},
    ]


def test_a_quoted_header_may_hold_commas_quotes_and_line_feeds(tmp_path):
    (tmp_path / "m.csv").write_text('id,"text, said","text, meant","a ""b""\nc"\n1,x,y,z\n')
    assert read_manifest(tmp_path / "m.csv")[0] == {"id": "1", "text, said": "x", "text, meant": "y", 'a "b"\nc': "z"}
    (tmp_path / "m.tsv").write_text("id\ttext\ttext\n1\tx\ty\n")
    with pytest.raises(UserError, match=r"m\.tsv: column 'text' occurs twice in its header"):
        read_manifest(tmp_path / "m.tsv")


def test_columns_that_nobody_asked_for_may_be_of_any_type(tmp_path):
    table = pa.table({"text": ["a", "b"], "more": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64()))})
    pq.write_table(table, tmp_path / "m.parquet")
    assert read_manifest(tmp_path / "m.parquet", ["text"])["text"] == ["a", "b"]
    assert read_manifest(tmp_path, ["text"])["text"] == ["a", "b"]
    with pytest.raises(UserError, match=r"column 'more' holds map<string, int64.*> values, expected strings"):
        read_manifest(tmp_path / "m.parquet", ["more"])


def test_a_folder_of_tars_without_a_usable_row(tmp_path):
    write_tar(tmp_path / "0.tar", "0.png", "1.txt")
    with pytest.raises(UserError, match=r"no sample of its tars can be used; left out: 0/0 \(no caption\), 0/1"):
        read_manifest(tmp_path, ["image"])


def test_half_a_surrogate_pair_in_a_class_name(tmp_path):
    (tmp_path / "m.csv").write_text("id,label\n1,owl\n")
    (tmp_path / "names.json").write_text('{"owl": "\\ud83e"}')
    spec = TextModality(templates="plain", names=tmp_path / "names.json")
    with pytest.raises(UserError, match=r"names\.json"):
        read_pairs(tmp_path / "m.csv", {"text": spec})


def test_lines_end_with_line_feeds_alone(tmp_path):
    text = "hot\u2028dog\x0cand\x85more"
    (tmp_path / "m.csv").write_text(f"id,text\n1,{text}\n2,x\n", encoding="utf-8")
    (tmp_path / "m.jsonl").write_text('{"id": 1, "text": "hot\u2028dog"}\n{"id": 2, "text": "x"}\n')
    assert read_manifest(tmp_path / "m.csv", ["text"])["text"] == [text, "x"]
    assert read_manifest(tmp_path / "m.jsonl", ["text"])["text"] == ["hot\u2028dog", "x"]
