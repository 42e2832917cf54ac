"""A manifest cut into parts: by a column, by groups; paths still lead to the files."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xmodal.commands.cli import main
from xmodal.corpora.manifest_split import split_manifest
from xmodal.data.manifest import made_of, read_manifest
from xmodal.errors import UserError


def write(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows(count: int = 40) -> list[dict]:
    return [
        {"id": f"{n}", "speech": f"clips/{n}.wav", "text": f"t{n}", "speaker": f"s{n % 8}", "split": "ab"[n % 2]}
        for n in range(count)
    ]


def test_a_column_names_the_parts_and_paths_start_from_the_new_folder(tmp_path: Path) -> None:
    source = write(tmp_path / "in" / "m.jsonl", rows())
    written = split_manifest(source, tmp_path / "out", by="split")
    assert {path.name: count for path, count in written.items()} == {"a.parquet": 20, "b.parquet": 20}
    found = read_manifest(tmp_path / "out" / "b.parquet", ["speech", "text"])
    assert found.names == [str(n) for n in range(1, 40, 2)]
    for name, path in zip(found.names, found["speech"], strict=True):
        assert (tmp_path / "out" / path).resolve() == (tmp_path / "in" / "clips" / f"{name}.wav").resolve()


def test_groups_stay_together_and_every_row_is_somewhere_once(tmp_path: Path) -> None:
    source = write(tmp_path / "m.jsonl", rows())
    main(["split", str(source), str(tmp_path / "out"), "--by", "speaker", "--dev", "0.2", "--test", "0.2"])
    parts = {name: read_manifest(tmp_path / "out" / f"{name}.parquet") for name in ("train", "dev", "test")}
    speakers = {name: set(part["speaker"]) for name, part in parts.items()}
    assert not speakers["train"] & speakers["dev"]
    assert not speakers["dev"] & speakers["test"]
    assert sorted(name for part in parts.values() for name in part.names) == sorted(str(n) for n in range(40))
    assert len(parts["dev"]) == 10  # two of eight speakers: the first holds an eighth, less than a fifth


def test_several_captions_stay_several(tmp_path: Path) -> None:
    texts = [["two", "captions"] if n % 4 == 0 else f"t{n}" for n in range(40)]
    source = write(tmp_path / "m.jsonl", [{**row, "text": text} for row, text in zip(rows(), texts, strict=True)])
    split_manifest(source, tmp_path / "out", by="split")
    found = read_manifest(tmp_path / "out" / "a.parquet", ["text"], media=["text"])
    assert [list(each) for each in found["text"]][:3] == [["two", "captions"], ["t2"], ["two", "captions"]]


def test_bytes_of_pictures_come_along(tmp_path: Path) -> None:
    images = [{"bytes": bytes([n]), "path": None} for n in range(30)]
    pq.write_table(pa.table({"image": images, "label": ["x"] * 30}), tmp_path / "all.parquet")
    split_manifest(tmp_path / "all.parquet", tmp_path / "out", shares={"dev": 0.1})
    found = read_manifest(tmp_path / "out" / "dev.parquet", ["label"])
    assert [image["bytes"][0] for image in found["image"]] == [int(name) for name in found.names]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--dev", "0"], "'0': expected a share between 0 and 1"),
        (["--dev", "0.6", "--test", "0.5"], "take 1.1 of the rows"),
        ([], "give --dev or --test with a share, or --on"),
        (["--on", "split", "--dev", "0.1"], "give --dev or --test with a share, or --on"),
        (["--on", "text"], "'a/b' in column 'text' makes no file name"),
        (["--by", "spaeker", "--dev", "0.1"], "speaker"),
        (["--by", "text", "--dev", "0.1"], "column 'text' has too few different values (1) for dev, train; ask for"),
    ],
)
def test_what_is_wrong_is_said(options: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = write(tmp_path / "m.jsonl", [{**row, "text": "a/b"} for row in rows(4)])
    with pytest.raises((UserError, SystemExit)) as error:
        main(["split", str(source), str(tmp_path / "out"), *options])
    assert line in f"{error.value} {capsys.readouterr().err}"
    assert not (tmp_path / "out").exists()


def test_a_new_split_replaces_the_earlier_one_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, out = write(tmp_path / "m.jsonl", rows()), tmp_path / "out"
    split_manifest(source, out, "speaker", {"dev": 0.2, "test": 0.2})
    split_manifest(source, out, "speaker", {"dev": 0.2})
    assert sorted(path.name for path in out.iterdir()) == ["dev.parquet", "train.parquet"]
    assert f"test.parquet: removed, a part of an earlier split of {source}" in caplog.text
    made = {"corpus": "split", "of": "../m.jsonl", "by": "speaker", "shares": {"dev": 0.2}}
    assert made_of(out / "dev.parquet") == made
    before = (out / "train.parquet").read_bytes()
    with pytest.raises(UserError, match=r"too few different values \(8\) for 0, 1, "):
        split_manifest(source, out, "speaker", {str(n): 0.1 for n in range(8)})
    with pytest.raises(UserError, match=r"dev\.parquet: in the way, a part of \.\./m\.jsonl; choose another OUT"):
        split_manifest(write(tmp_path / "other.jsonl", rows()), out, "speaker", {"dev": 0.2})
    assert (out / "train.parquet").read_bytes() == before
    assert len(list(out.iterdir())) == 2


def test_a_file_of_someone_elses_stays_and_parts_are_asked_for(tmp_path: Path) -> None:
    source, out = write(tmp_path / "m.jsonl", rows()), tmp_path / "out"
    out.mkdir()
    pq.write_table(pa.table({"id": ["1"]}), out / "dev.parquet")
    with pytest.raises(UserError, match=r"dev\.parquet: in the way, and no part of an earlier split"):
        split_manifest(source, out, shares={"dev": 0.2})
    assert [path.name for path in out.iterdir()] == ["dev.parquet"]
    assert len(split_manifest(source, out, by="split")) == 2  # it is not in the way of other names
    with pytest.raises(UserError, match="no parts are asked for; give shares, or by"):
        split_manifest(source, out)
