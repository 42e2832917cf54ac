"""Tars as img2dataset writes them: every row against Python's tarfile, and every kind of broken tar."""

import gzip
import io
import json
import subprocess
import tarfile
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from xmodal.data.sources.tar_address import is_address, member_of, read_member
from xmodal.data.sources.tar_index import index_tars, scan_tars
from xmodal.data.sources.tar_members import MAX_TEXT
from xmodal.errors import UserError


def picture(shade: int) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (4, 4), (shade % 256, 0, 0)).save(made, "JPEG")
    return made.getvalue()


def write_tar(path: Path, members: list[tuple[str, bytes]], form: int = tarfile.USTAR_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def sample(key: str, shade: int, text: str) -> list[tuple[str, bytes]]:
    about = json.dumps({"caption": f"json {text}", "key": key}).encode()
    return [(f"{key}.jpg", picture(shade)), (f"{key}.json", about), (f"{key}.txt", text.encode())]


def reasons(folder: Path) -> dict[str, str]:
    return dict(bad for index in scan_tars(folder) for bad in index.skipped)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_rows_are_those_of_tarfile(tmp_path: Path, form: int) -> None:
    long = "a long folder/" * 8 + "000000002"  # over 100 characters: each format writes it in its own way
    for shard in range(2):
        members = [m for n in range(3) for m in sample(f"{shard:05d}000{n}", 40 * n + shard, f" Grüße {shard} {n}\n")]
        write_tar(tmp_path / f"{shard:05d}.tar", members + sample(long, 200, "lång"), form)
    rows = index_tars(tmp_path)
    assert [row["id"] for row in rows[:2]] == ["00000/000000000", "00000/000000001"]
    assert [row["text"] for row in rows] == [f"Grüße {s} {n}" if n < 3 else "lång" for s in range(2) for n in range(4)]
    assert len({row["id"] for row in rows}) == 8
    for row in rows:
        shard, _, key = row["id"].partition("/")
        with tarfile.open(tmp_path / f"{shard}.tar") as tar:
            inside = tar.extractfile(f"{key}.jpg")
            assert inside is not None
            assert read_member(tmp_path, row["image"]) == inside.read()
        assert is_address(row["image"])


def test_a_tar_of_gnu_tar(tmp_path: Path) -> None:
    for name, data in sample("bild ü", 9, "ein Bild"):
        (tmp_path / name).write_bytes(data)
    subprocess.run(["tar", "-cf", "shard.tar", "bild ü.jpg", "bild ü.txt"], cwd=tmp_path, check=True)
    [row] = index_tars(tmp_path / "shard.tar")
    assert (row["id"], row["text"]) == ("shard/bild ü", "ein Bild")
    assert read_member(tmp_path, row["image"]) == (tmp_path / "bild ü.jpg").read_bytes()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    members=st.lists(
        st.tuples(st.sampled_from(["a", "b", "d/a", "ö"]), st.sampled_from(["jpg", "PNG", "txt", "json", "npy"])),
        max_size=12,
    )
)
def test_any_mixture_against_a_plain_reading(tmp_path: Path, members: list[tuple[str, str]]) -> None:
    contents = {"txt": b"a text", "json": b'{"caption": "of json"}'}
    data = [(f"{key}.{ending}", contents.get(ending, f"{n} {key}".encode())) for n, (key, ending) in enumerate(members)]
    write_tar(tmp_path / "t.tar", data)
    expected = {}
    for key in dict.fromkeys(key for key, ending in members if ending in ("jpg", "PNG")):
        endings = {ending for other, ending in members if other == key}
        image = next(content for name, content in data if name in (f"{key}.jpg", f"{key}.PNG"))
        text = "a text" if "txt" in endings else "of json" if "json" in endings else None
        if text:
            expected[f"t/{key}"] = (image, text)
    rows = index_tars(tmp_path / "t.tar")
    assert {row["id"]: (read_member(tmp_path, row["image"]), row["text"]) for row in rows} == expected


def test_addresses_start_at_the_manifests_folder(tmp_path: Path) -> None:
    write_tar(tmp_path / "data" / "00.tar", sample("a", 1, "one"))
    write_tar(tmp_path / "data" / "more" / "00.tar", sample("a", 2, "two"))
    from_above = index_tars(tmp_path / "data", tmp_path)
    assert [row["id"] for row in from_above] == ["00/a", "more/00/a"]
    assert [row["image"].partition("@")[0] for row in from_above] == ["data/00.tar", "data/more/00.tar"]
    [elsewhere, _] = index_tars(tmp_path / "data", tmp_path / "manifests")
    assert elsewhere["image"].startswith(str(tmp_path / "data" / "00.tar@"))
    assert read_member(tmp_path / "manifests", elsewhere["image"]) == picture(1)
    assert [row["id"] for row in index_tars(f"{tmp_path}/data/0*.tar")] == ["00/a"]


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    members = [
        *sample("good", 1, "good"),
        ("alone.jpg", picture(2)),
        ("words.txt", b"no image"),
        ("good.jpg", picture(3)),
        ("good.txt", b"again"),
        ("zero.jpg", b""),
        ("zero.txt", b"empty image"),
        ("blank.jpg", picture(4)),
        ("blank.txt", b" \n"),
        ("latin.jpg", picture(5)),
        ("latin.txt", "Grüße".encode("latin-1")),
        ("broken.jpg", picture(6)),
        ("broken.json", b"{"),
        ("list.jpg", picture(6)),
        ("list.json", b"[]"),
        ("number.jpg", picture(6)),
        ("number.json", b'{"caption": 7}'),
        ("endless.jpg", picture(7)),
        ("endless.txt", b"x" * (MAX_TEXT + 1)),
        (".hidden", b""),
        ("README", b""),
    ]
    write_tar(tmp_path / "s.tar", members)
    skipped: list[tuple[str, str]] = []
    [row] = index_tars(tmp_path, skipped=skipped)
    assert (row["id"], row["text"], read_member(tmp_path, row["image"])) == ("s/good", "good", picture(1))
    assert sorted(skipped) == [
        ("s/alone", "no caption"),
        ("s/blank", "no caption"),
        ("s/broken", "the .json is not JSON"),
        ("s/endless", f"a caption of {MAX_TEXT + 1} bytes, the limit is {MAX_TEXT}"),
        ("s/good.jpg", "comes twice; the first is kept"),
        ("s/good.txt", "comes twice; the first is kept"),
        ("s/latin", "the caption is not UTF-8"),
        ("s/list", "no caption"),
        ("s/number", "no caption"),
        ("s/words", "no image"),
        ("s/zero", "the image is empty"),
    ]


def test_names_that_would_leave_the_folder_and_links_do_no_harm(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "in" / "s.tar", [*sample("../../escape", 1, "out"), *sample("/etc/escape", 2, "root")])
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    rows = index_tars(tmp_path / "in")
    assert [row["text"] for row in rows] == ["out", "root"]
    assert [read_member(tmp_path / "in", row["image"]) for row in rows] == [picture(1), picture(2)]
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["in", "s.tar"]


def test_of_a_tar_cut_anywhere_the_whole_images_are_kept(tmp_path: Path) -> None:
    members = [m for n in range(3) for m in sample(f"{n}", 50 * n, f"text {n}")]
    whole = write_tar(tmp_path / "whole" / "s.tar", members).read_bytes()
    with tarfile.open(tmp_path / "whole" / "s.tar") as tar:
        ends = {info.name: info.offset_data + info.size for info in tar.getmembers()}
        last = tar.offset
    for length in [1, *range(100, last, 370), *(last - 512 * n for n in (0, 1, 2))]:
        cut = tmp_path / f"{length}" / "s.tar"
        cut.parent.mkdir(exist_ok=True)
        cut.write_bytes(whole[:length])
        [index] = list(scan_tars(cut))
        expected = [
            n for n in range(3) if ends[f"{n}.jpg"] <= length and min(ends[f"{n}.txt"], ends[f"{n}.json"]) <= length
        ]
        assert [row["id"] for row in index.rows] == [f"s/{n}" for n in expected]
        assert [read_member(cut.parent, row["image"]) for row in index.rows] == [picture(50 * n) for n in expected]
        assert index.skipped[0][0] == str(cut)
        assert "cut off" in index.skipped[0][1] or index.skipped[0][1].startswith("not a tar")
    assert reasons(tmp_path / "whole") == {}


def test_broken_headers_and_other_files(tmp_path: Path) -> None:
    members = [m for n in range(3) for m in sample(f"{n}", 50 * n, f"text {n}")]
    data = bytearray(write_tar(tmp_path / "broken.tar", members).read_bytes())
    with tarfile.open(tmp_path / "broken.tar") as tar:
        offset = tar.getmember("1.jpg").offset
    data[offset : offset + 512] = b"\xff" * 512
    (tmp_path / "broken.tar").write_bytes(data)
    (tmp_path / "empty.tar").touch()
    (tmp_path / "text.tar").write_text("hello\n" * 500)
    write_tar(tmp_path / "none.tar", [])
    assert [row["id"] for row in index_tars(tmp_path)] == ["broken/0"]
    assert reasons(tmp_path) == {
        str(tmp_path / "broken.tar"): f"broken header at byte {offset}; 1 images before it",
        str(tmp_path / "empty.tar"): "an empty file; 0 images before it",
        str(tmp_path / "text.tar"): "not a tar; 0 images before it",
    }


def test_compressed_tars_are_refused(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "s.tar", sample("a", 1, "one"))
    packed = tmp_path / "packed"
    packed.mkdir()
    for name in ("s.tar.gz", "s.tar"):
        (packed / name).write_bytes(gzip.compress(whole.read_bytes()))
        with pytest.raises(UserError, match=rf"{name}: compressed, and there is no seeking .*; decompress it first"):
            index_tars(packed)
        (packed / name).unlink()
    with pytest.raises(UserError, match=r"no .tar there; expected tars as img2dataset writes them"):
        index_tars(packed)
    with pytest.raises(UserError, match=r"nowhere: no .tar there"):
        index_tars(tmp_path / "nowhere")


def test_a_place_is_checked(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "s.tar", [*sample("a", 1, "one"), *sample("b", 250, "two")])
    [row, _] = index_tars(path)
    place = row["image"]
    found = member_of(place)
    assert found is not None
    tar, offset, size, check = found
    assert place == str(found) == f"{tar}@{offset}+{size}+{zlib.crc32(path.read_bytes()[offset - 512 : offset]):08x}"
    assert read_member(tmp_path, f"{tar}@{offset}+{size}") == picture(1)  # of an earlier version's manifest
    again = "changed since it was indexed; index it again"
    for wrong, line in {
        "a.jpg": "not an address inside a tar; expected SHARD.tar@OFFSET",
        f"{tar}@-5+3": "not an address",
        f"{place}0": "not an address",
        f"{tar}@{offset}+{size}+0123abcd": f"another member of {size} bytes at byte {offset}; the tar has {again}",
        f"{tar}@{offset}+{size + 1}+{check}": f"no member of {size + 1} bytes",
        f"{tar}@{offset}+{size + 1}": f"no member of {size + 1} bytes at byte {offset}; the tar has {again}",
        f"{tar}@{offset + 1}+{size}": again,
        f"{tar}@0+{size}": again,
        f"{tar}@{10**9}+5": f"ends before byte {10**9 + 5}; the tar has {again}",
        f"{tar}@512+{10**12}": "the limit is 67108864",
        f"none.tar@512+{size}": "none.tar: No such file",
    }.items():
        assert is_address(wrong) == ("an address" not in line)
        with pytest.raises(UserError) as error:
            read_member(tmp_path, wrong)
        assert line in str(error.value)
    with pytest.raises(UserError, match=f"{size} bytes, the limit is 10"):
        read_member(tmp_path, place, max_bytes=10)
    assert read_member(tmp_path, place) == picture(1)
    write_tar(path, [*sample("new", 77, "one member more, before it"), *sample("a", 1, "one")])
    with pytest.raises(UserError, match=again):
        read_member(tmp_path, place)


def test_members_of_one_size_in_another_order_are_found_out(tmp_path: Path) -> None:
    pairs = []
    for n in range(8):
        made = io.BytesIO()
        Image.new("RGB", (4, 4), (30 * n, 0, 0)).save(made, "BMP")
        pairs.append([(f"{n}.bmp", made.getvalue()), (f"{n}.txt", b"text %d" % n)])
    path = write_tar(tmp_path / "s.tar", [member for pair in pairs for member in pair])
    rows = index_tars(path)
    length = path.stat().st_size
    write_tar(path, [member for pair in reversed(pairs) for member in pair])
    assert path.stat().st_size == length
    for row in rows:
        with pytest.raises(UserError, match=r"another member of 102 bytes at byte \d+; the tar has changed since"):
            read_member(tmp_path, row["image"])


def test_a_tar_by_any_case_of_its_ending_is_read(tmp_path: Path) -> None:
    for name in ("a.TAR", "b.Tar"):
        write_tar(tmp_path / name, sample("x", 3, "text"))
    for row in index_tars(tmp_path):
        assert is_address(row["image"])
        assert read_member(tmp_path, row["image"]) == picture(3)
