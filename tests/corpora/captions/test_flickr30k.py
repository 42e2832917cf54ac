from pathlib import Path

import pytest
from pictures import rows_of, save, skipped_of

from xmodal.corpora.captions.flickr30k import prepare
from xmodal.errors import UserError

TOKEN = """\
1.jpg#0\tTwo young guys with shaggy hair .
1.jpg#2\tA third | caption # with signs .
1.jpg#1\tZwei Männer .
2.jpg#0\tIts image is gone .
3.jpg#0\tIts image is empty .
4.jpg#zero\tno number
4.jpg#0\t
5.jpg#0\tFive .
"""
CSV = """\
image_name| comment_number| comment
1.jpg| 0| Two young guys with shaggy hair .
1.jpg| 2| A third | caption # with signs .
1.jpg| 1| Zwei Männer .
2.jpg| 0| Its image is gone .
3.jpg| 0| Its image is empty .
4.jpg| 4   A line as the published file has one
5.jpg| 0| Five .
"""


@pytest.mark.parametrize(
    ("name", "content", "bad_lines"), [("results_20130124.token", TOKEN, 2), ("results.csv", CSV, 1)]
)
def test_rows(tmp_path: Path, name: str, content: str, bad_lines: int) -> None:
    root, out = tmp_path / "flickr", tmp_path / "out"
    for number in (1, 4, 5):
        save(root / "flickr30k-images" / f"{number}.jpg")
    (root / "flickr30k-images" / "3.jpg").touch()
    (root / name).write_text(content, encoding="utf-8")
    assert prepare(root, out) == {out / "images.parquet": 2, out / "images.skipped.jsonl": 3 + bad_lines}
    captions = ["Two young guys with shaggy hair .", "Zwei Männer .", "A third | caption # with signs ."]
    assert rows_of(out / "images.parquet") == [
        {"id": "1.jpg", "image": str(root / "flickr30k-images" / "1.jpg"), "text": captions},
        {"id": "5.jpg", "image": str(root / "flickr30k-images" / "5.jpg"), "text": ["Five ."]},
    ]
    skipped = skipped_of(out / "images.parquet")
    assert {k: v for k, v in skipped.items() if k.endswith(".jpg")} == {
        "2.jpg": "missing",
        "3.jpg": "an empty file",
        "4.jpg": "no caption",
    }
    assert prepare(root, out, limit=1)[out / "images.parquet"] == 1


def test_wrong_roots(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no results_20130124.token or results.csv there; expected the captions"):
        prepare(tmp_path, tmp_path / "out")
    (tmp_path / "results.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"no flickr30k-images or .* expected the folder of images"):
        prepare(tmp_path, tmp_path / "out")
    save(tmp_path / "images" / "1.jpg")
    with pytest.raises(UserError, match=r"no caption in its 2 lines; expected lines of the form: image_name\| comment"):
        prepare(tmp_path, tmp_path / "out")
    (tmp_path / "results.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"results.csv: not UTF-8 \(byte 0\)"):
        prepare(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
