"""Class folders to a manifest, with every kind of file that is no image; and how manifests are written."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictures import rows_of, save, skipped_of

from xmodal.config.data import ImageModality
from xmodal.corpora.image_manifest import evenly
from xmodal.corpora.images.image_folder import prepare
from xmodal.data.manifest import made_of, read_pairs
from xmodal.errors import UserError


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    root = tmp_path / "flowers"
    for number, name in enumerate(("rose/a.jpg", "rose/b.PNG", "Gänseblümchen/日本.jpg", "iris/x.webp", "iris/y.bmp")):
        save(root / name, number)
    return root


def test_rows(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert prepare(corpus, out) == {out / "images.parquet": 5}
    rows = rows_of(out / "images.parquet")
    assert {row["id"]: row["label"] for row in rows} == {
        "Gänseblümchen/日本.jpg": "Gänseblümchen",
        "iris/x.webp": "iris",
        "iris/y.bmp": "iris",
        "rose/a.jpg": "rose",
        "rose/b.PNG": "rose",
    }
    assert [row["image"] for row in rows] == [str(corpus / row["id"]) for row in rows]
    assert [p.name for p in out.iterdir()] == ["images.parquet"]
    manifest, items = read_pairs(out / "images.parquet", {"image": ImageModality()})
    assert (len(manifest), items["image"].value(0)) == (5, rows[0]["image"])


def test_images_inside_the_manifests_folder_are_relative(corpus: Path) -> None:
    prepare(corpus, corpus)
    assert rows_of(corpus / "images.parquet")[-1]["image"] == "rose/b.PNG"
    prepare(corpus, corpus.parent)
    assert rows_of(corpus.parent / "images.parquet")[-1]["image"] == "flowers/rose/b.PNG"


def test_what_cannot_be_used_is_counted_and_named(corpus: Path, tmp_path: Path) -> None:
    (corpus / "rose" / "zero.jpg").touch()
    (corpus / "rose" / "notes.txt").write_text("no picture")
    (corpus / "rose" / ".hidden.jpg").touch()
    (corpus / "rose" / "gone.jpg").symlink_to(corpus / "nowhere.jpg")
    (corpus / "rose" / "deeper").mkdir()
    (corpus / "tulip").mkdir()
    (corpus / "README").touch()
    with Path(os.fsdecode(bytes(corpus) + b"/rose/latin\xfc.jpg")).open("wb") as file:
        file.write(b"x")
    out = tmp_path / "out"
    written = prepare(corpus, out)
    assert written == {out / "images.parquet": 5, out / "images.skipped.jsonl": 6}
    assert skipped_of(out / "images.parquet") == {
        "zero.jpg": "an empty file",
        "notes.txt": "not an image by its name",
        "gone.jpg": "cannot be read: No such file or directory",
        "tulip": "class folder without images",
        "deeper": "a folder; images are taken from the one above it alone",
        "latin\\xfc.jpg": "the name is not UTF-8",
    }
    for name in ("zero.jpg", "notes.txt", "gone.jpg", os.fsdecode(b"latin\xfc.jpg")):
        (corpus / "rose" / name).unlink()
    (corpus / "tulip").rmdir()
    (corpus / "rose" / "deeper").rmdir()
    assert prepare(corpus, out) == {out / "images.parquet": 5}
    assert not (out / "images.skipped.jsonl").exists()  # nothing old is left beside the new


def test_limit_is_spread_over_the_classes(corpus: Path, tmp_path: Path) -> None:
    prepare(corpus, tmp_path / "out", limit=3)
    assert [r["label"] for r in rows_of(tmp_path / "out" / "images.parquet")] == ["Gänseblümchen", "iris", "rose"]
    for total in range(1, 20):
        for limit in range(1, 25):
            kept = evenly(total, limit)
            assert len(kept) == len(set(kept)) == min(total, limit)
            assert kept == sorted(kept)
            assert kept[0] == 0
            assert kept[-1] < total


def test_a_wrong_root_is_told_what_was_expected(corpus: Path, tmp_path: Path) -> None:
    save(tmp_path / "above" / "train" / "rose" / "a.jpg")
    save(tmp_path / "flat" / "a.jpg")
    for root, found in (
        (tmp_path / "none", "no such folder; expected class folders with images"),
        (tmp_path / "above", "found folders train; expected class folders with images"),
        (tmp_path / "flat", "found no folders; expected class folders with images"),
    ):
        with pytest.raises(UserError) as error:
            prepare(root, tmp_path / "out")
        assert str(error.value).startswith(f"{root}: {found}")
        assert not (tmp_path / "out").exists()


def test_nothing_of_anothers_is_overwritten(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    foreign = out / "images.parquet"
    [written] = prepare(corpus, tmp_path / "first")
    bare = tmp_path / "bare.parquet"  # the same table, from another hand
    pq.write_table(pq.read_table(written).replace_schema_metadata(None), bare)
    for content in (b"mine", bare.read_bytes()):
        foreign.write_bytes(content)
        with pytest.raises(UserError, match=r"images.parquet: in the way, and not written here; choose another OUT"):
            prepare(corpus, out)
        assert foreign.read_bytes() == content
    foreign.unlink()
    (out / "images.skipped.jsonl").write_text("mine")
    with pytest.raises(UserError, match=r"images.skipped.jsonl: in the way"):
        prepare(corpus, out)
    (out / "images.skipped.jsonl").unlink()
    prepare(corpus, out)
    prepare(corpus, out, limit=2)  # its own
    assert len(rows_of(foreign)) == 2


def test_the_same_folders_are_not_read_again_and_changed_ones_are(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    manifest, beside = out / "images.parquet", out / "images.skipped.jsonl"

    def again(rows: int, left_out: int = 0, rewritten: bool = True) -> None:
        before = manifest.stat().st_mtime_ns
        expected = {manifest: rows} | ({beside: left_out} if left_out else {})
        assert prepare(corpus, out) == expected
        assert (manifest.stat().st_mtime_ns != before) is rewritten
        assert len(rows_of(manifest)) == rows

    prepare(corpus, out)
    again(5, rewritten=False)
    save(corpus / "rose" / "c.jpg")
    again(6)
    (corpus / "rose" / "c.jpg").rename(corpus / "rose" / "d.txt")
    again(5, left_out=1)
    (corpus / "rose" / "d.txt").rename(corpus / "rose" / "e.jpg")
    (corpus / "rose" / "e.jpg").write_bytes(b"")
    again(5, left_out=1)
    (corpus / "rose" / "e.jpg").write_bytes(b"x")  # mended in place: no folder's date tells
    again(6)
    again(6, rewritten=False)
    save(corpus / "tulip" / "a.jpg")
    again(7)
    moved = corpus.rename(tmp_path / "elsewhere")
    assert prepare(moved, out) == {manifest: 7}
    assert rows_of(manifest)[0]["image"].startswith(str(moved))
    assert made_of(manifest).keys() == {"corpus", "limit", "source", "left_out"}


def test_only_our_manifests_say_what_they_are_made_of(corpus: Path, tmp_path: Path) -> None:
    table = pa.table({"id": ["a"]})
    pq.write_table(table.replace_schema_metadata({"xmodal.corpus": "{", "more": "x"}), tmp_path / "broken.parquet")
    pq.write_table(table.replace_schema_metadata({"xmodal.corpus": "[]"}), tmp_path / "list.parquet")
    pq.write_table(table, tmp_path / "bare.parquet")
    (tmp_path / "rows.jsonl").write_text('{"id": "a"}')
    for name in ("broken.parquet", "list.parquet", "bare.parquet", "rows.jsonl", "none", ".", "hub:cifar10"):
        assert made_of(tmp_path / name) == {}
    prepare(corpus, tmp_path, limit=2)
    assert made_of(tmp_path / "images.parquet")["limit"] == 2
