"""Embeddings as files, and search over them, by an encoder whose embeddings are colours."""

import base64
import io
import json
import os
import re
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from colour_encoder import RGB, colour_encoder, paint
from PIL import Image

from xmodal.errors import UserError
from xmodal.evaluation.embeddings.export import (
    EmbeddedItems,
    check_target,
    embed_items,
    read_embeddings,
    write_embeddings,
)
from xmodal.evaluation.embeddings.found_items import find_items
from xmodal.evaluation.embeddings.page import check_page, page
from xmodal.evaluation.embeddings.search import SearchIndex

NAMES = ["a/deep/blue one.PNG", "green.jpg", "red.png", "yellow.webp", "Ünïcode.bmp"]
COLOURS = ["blue", "green", "red", "yellow", "white"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name, colour in zip(NAMES, COLOURS, strict=True):
        paint(folder / name, colour)
    (folder / "notes.txt").write_text("no image")
    return folder


def unit(colour: str) -> np.ndarray:
    rgb = np.array(RGB[colour], dtype=float)
    return rgb / np.linalg.norm(rgb)


def embedded(folder: Path, seed: int | None = None) -> EmbeddedItems:
    return embed_items(colour_encoder(seed=seed), "image", find_items(folder, "image", "image"))


# ------------------------------------------------------------------------------------------------------------- finding


def test_a_folder_is_searched_to_its_depths(photos: Path) -> None:
    found = find_items(photos, "image", "image")
    assert found.ids == sorted(NAMES)
    assert found.values == found.ids
    assert found.notes == ["left out by their endings: .txt (1)"]
    assert all(path.is_file() for path in map(Path, map(str, found.items("image"))))


def test_texts_are_lines(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("\ufeffred\n\n  green blue \n", encoding="utf-8")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_text("white\n")
    found = find_items(tmp_path, "text", "text")
    assert found.ids == ["b.txt:1", "b.txt:3", "sub/a.txt:1"]
    assert found.values == found.items("text") == ["red", "green blue", "white"]
    assert find_items(tmp_path / "b.txt", "text", "text").values == ["red", "green blue"]
    (tmp_path / "b.txt").write_bytes("red\u2028ish\r\nblue\x85\ngreen\x0cish".encode())  # three lines, and no more
    assert find_items(tmp_path / "b.txt", "text", "text").values == ["red\u2028ish", "blue", "green\x0cish"]


def test_a_manifest_gives_each_item_once(photos: Path) -> None:
    rows = [
        {"id": "one", "image": "red.png", "text": ["red", "a red one"]},
        {"id": "two", "image": "green.jpg", "text": ["green"]},
        {"id": "three", "image": "red.png", "text": ["red", "crimson"]},
    ]
    manifest = photos / "pairs.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = find_items(manifest, "image", "image")
    assert (found.ids, found.values, found.root) == (["one", "two"], ["red.png", "green.jpg"], photos)
    texts = find_items(manifest, "caption", "text", column="text")
    assert texts.ids == ["one:0", "one:1", "two", "three:1"]
    assert texts.values == ["red", "a red one", "green", "crimson"]


def test_tars_and_bytes(photos: Path, tmp_path: Path) -> None:
    tars = tmp_path / "tars"
    tars.mkdir()
    with tarfile.open(tars / "00000.tar", "w") as tar:
        tar.add(photos / "green.jpg", "000.jpg")
        (photos / "000.txt").write_text("green")
        tar.add(photos / "000.txt", "000.txt")
    done = embedded(tars)
    assert done.z == pytest.approx(unit("green")[None], abs=0.03)  # JPEG
    struct = [{"bytes": (photos / "red.png").read_bytes(), "path": None}]
    pd.DataFrame({"id": ["r"], "image": struct}).to_parquet(tmp_path / "bytes.parquet")
    done = embedded(tmp_path / "bytes.parquet")
    assert (done.ids, done.values) == (["r"], [None])
    assert done.z == pytest.approx(unit("red")[None], abs=0.01)
    write_embeddings(tmp_path / "out.parquet", done)
    assert read_embeddings(tmp_path / "out.parquet").values == [None]


# ------------------------------------------------------------------------------------------------------------- writing


def test_parquet_says_what_is_in_it(photos: Path, tmp_path: Path) -> None:
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (photos / "empty.png").touch()
    out = tmp_path / "new" / "photos.parquet"
    write_embeddings(out, embedded(photos))
    table = pq.read_table(out)
    assert table.column_names == ["id", "path", "embedding"]
    assert str(table.schema.field("embedding").type) == "fixed_size_list<element: float>[3]"
    order = sorted(NAMES)
    assert table["id"].to_pylist() == table["path"].to_pylist() == order
    expected = np.stack([unit(COLOURS[NAMES.index(name)]) for name in order])
    assert np.array(table["embedding"].to_pylist()) == pytest.approx(expected, abs=0.03)
    info = json.loads(table.schema.metadata[b"xmodal"])
    assert (info["model"], info["modality"], info["kind"], info["dim"]) == ("colours", "image", "image", 3)
    assert info["root"] == str(photos.resolve())
    assert [name for name, _ in info["skipped"]] == ["broken.png", "empty.png"]
    assert "empty" in info["skipped"][1][1]
    back = read_embeddings(out)
    assert back.z.tolist() == embedded(photos).z.tolist()
    assert back.z.dtype == np.float32


def test_npy_with_its_list(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "photos.npy"
    write_embeddings(out, embedded(photos))
    listing = json.loads((tmp_path / "photos.json").read_text())
    assert listing["ids"] == listing["paths"] == sorted(NAMES)
    assert np.load(out, allow_pickle=False).tolist() == embedded(photos).z.tolist()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["photos", "photos.json", "photos.npy"]
    with pytest.raises(UserError, match=r"photos\.npy: a bare matrix; .* --out photos\.parquet"):
        read_embeddings(out)


@pytest.mark.parametrize("name", ["x.parquet", "x.npy"])
def test_nothing_is_overwritten_unasked(photos: Path, tmp_path: Path, name: str) -> None:
    there = tmp_path / (name if name == "x.parquet" else "x.json")  # the list of a matrix counts as well
    there.write_text("mine")
    with pytest.raises(UserError, match=rf"{there.name}: exists; choose another name, or give --overwrite"):
        write_embeddings(tmp_path / name, embedded(photos))
    assert there.read_text() == "mine"
    write_embeddings(tmp_path / name, embedded(photos), overwrite=True)
    assert there.read_bytes() != b"mine"
    check_target(tmp_path / "other.npy")
    with pytest.raises(UserError, match=r"x\.csv: expected a name that ends in \.parquet or \.npy"):
        check_target(tmp_path / "x.csv")


def test_what_cannot_be_embedded(photos: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    with pytest.raises(UserError, match=r"bad: no image in it; expected files ending in \.bmp, "):
        find_items(bad, "image", "image")
    (bad / "zero.png").touch()
    with pytest.raises(UserError, match=r"bad: none of 1 items can be read; first: zero\.png"):
        embedded(bad)
    with pytest.raises(UserError, match=r"nothing: no such file"):
        find_items(tmp_path / "nothing", "image", "image")
    (bad / "blank.txt").write_text("\n \n")
    with pytest.raises(UserError, match=r"blank\.txt: no line with text"):
        find_items(bad / "blank.txt", "text", "text")
    (bad / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(UserError, match=r"latin\.txt: not UTF-8"):
        find_items(bad / "latin.txt", "text", "text")
    with pytest.raises(UserError, match="modality 'audio': colours encodes image, text"):
        colour_encoder().kind("audio")


def test_fingerprint_knows_backbone_head_and_preprocessing() -> None:
    plain = colour_encoder()
    assert plain.fingerprint("image") == colour_encoder(name="another name").fingerprint("image")
    other = colour_encoder()
    other.towers["image"].backbone.weight.data[0, 1] = 0.5
    described = colour_encoder()
    described.processors["image"].describe = lambda: {"kind": "image", "size": 7}
    heads = [colour_encoder(seed=seed).fingerprint("image") for seed in (1, 1, 2)]
    assert heads[0] == heads[1]
    found = [e.fingerprint("image") for e in (plain, other, described)] + heads[1:] + [plain.fingerprint("text")]
    assert len(set(found)) == len(found)


# ------------------------------------------------------------------------------------------------------------- search


def test_search_orders_by_cosine(photos: Path) -> None:
    items, encoder = embedded(photos), colour_encoder()
    hits = SearchIndex(items).query(encoder, "red green", k=4).hits
    assert [hit.id for hit in hits[:2]] == ["yellow.webp", "Ünïcode.bmp"]  # cosines 1 and sqrt(2 / 3)
    assert [hit.score for hit in hits] == pytest.approx([1, (2 / 3) ** 0.5, 0.5**0.5, 0.5**0.5], abs=0.03)
    assert len(SearchIndex(items).query(encoder, "blue", k=100).hits) == 5
    [hit] = SearchIndex(items).query(encoder, str(photos / "green.jpg"), modality="image", k=1).hits
    assert (hit.id, hit.value) == ("green.jpg", "green.jpg")
    assert hit.score == pytest.approx(1)
    same = EmbeddedItems(list("abc"), list("abc"), np.tile(items.z[:1], (3, 1)), items.info)
    tied = SearchIndex(same).query(encoder, "blue", k=2).hits
    assert [hit.id for hit in tied] == ["a", "b"]  # the earlier ones


def test_search_wants_the_model_that_made_them(photos: Path) -> None:
    items = embedded(photos)
    with pytest.raises(UserError, match=r"were made by colours \(image\), not by new: other weights"):
        SearchIndex(items).query(colour_encoder("new", seed=3), "red")
    texts = embed_items(colour_encoder(seed=3), "text", find_items(photos / "notes.txt", "text", "text"))
    assert SearchIndex(texts).query(colour_encoder(), "red").hits  # another image tower is of no account to texts
    with pytest.raises(UserError, match="0 hits asked for"):
        SearchIndex(items).query(colour_encoder(), "red", k=0)
    with pytest.raises(UserError, match="an empty query"):
        SearchIndex(items).query(colour_encoder(), " ")
    with pytest.raises(UserError, match=r"image: .*gone\.png"):
        SearchIndex(items).query(colour_encoder(), str(photos / "gone.png"), modality="image")


def test_not_embeddings(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.parquet: no such file; make it with xmodal embed"):
        read_embeddings(tmp_path / "x.parquet")
    (tmp_path / "x.parquet").write_text("text")
    with pytest.raises(UserError, match=r"x\.parquet: holds no embeddings of xmodal"):
        read_embeddings(tmp_path / "x.parquet")
    pd.DataFrame({"id": ["a"]}).to_parquet(tmp_path / "y.parquet")
    with pytest.raises(UserError, match=r"y\.parquet: holds no embeddings of xmodal"):
        read_embeddings(tmp_path / "y.parquet")


def test_page_shows_the_pictures(photos: Path) -> None:
    items, encoder = embedded(photos), colour_encoder()
    (photos / "yellow.webp").unlink()
    query = '<b>red</b> & "green" red green'
    text = page(items, [SearchIndex(items).query(encoder, query, k=3)])
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert len(pictures) == 2  # the first hit's file is gone
    assert text.count("no picture") == 1
    white = np.asarray(Image.open(io.BytesIO(base64.b64decode(pictures[0]))))
    assert white.shape == (6, 8, 3)
    assert white.min() > 250
    assert "<b>" not in text
    assert "<script" not in text
    assert not re.findall(r"https?://", text)
    by_image = page(items, [SearchIndex(items).query(encoder, str(photos / "red.png"), "image", 1)])
    assert 'class="query"' in by_image
    assert "The 1 nearest of 5 items" in by_image
    latin = str(photos / os.fsdecode(b"caf\xe9.png"))  # a file's name that is not UTF-8
    shutil.copy(photos / "red.png", latin)
    by_latin = page(items, [SearchIndex(items).query(encoder, latin, "image", 1)])
    assert "caf?.png" in by_latin.encode().decode()


def test_a_page_takes_the_place_of_a_page_alone(photos: Path, tmp_path: Path) -> None:
    encoder, target = colour_encoder(), tmp_path / "hits.html"
    items = embed_items(encoder, "image", find_items(photos, "image", "image"))
    check_page(target)
    target.write_text(page(items, [SearchIndex(items).query(encoder, "red", k=1)]))
    check_page(target)
    target.write_text("<html>my homepage</html>")
    with pytest.raises(UserError, match=r"hits\.html: in the way, and no page of hits"):
        check_page(target)
