"""Several manifests as one: paths, ids, columns that some lack."""

from pathlib import Path

import pytest

from xmodal.commands.cli import main
from xmodal.data.mix import mixed
from xmodal.errors import UserError, run_script
from xmodal.files import read_json_lines, write_json_lines


@pytest.fixture
def manifests(tmp_path: Path) -> list[Path]:
    for name, rows in {
        "tts": [{"id": "a", "speech": "clips/a.wav", "text": "Lights on", "label": "on", "voice": "en"}],
        "people": [{"id": "a", "audio": "/far/b.flac", "text": "GOOD DAY", "speaker": "s1"}],
    }.items():
        (tmp_path / name).mkdir()
        write_json_lines(tmp_path / name / "all.jsonl", rows)
    return [tmp_path / "tts" / "all.jsonl", tmp_path / "people" / "all.jsonl"]


def test_rows_keep_what_they_have(manifests: list[Path], tmp_path: Path) -> None:
    tts, people = manifests
    first, second, third = mixed([tts, people, people], tmp_path / "mix", lower=True)
    assert first == {
        "id": "1-a", "speech": "../tts/clips/a.wav", "text": "lights on", "label": "on", "voice": "en", "speaker": None
    }  # fmt: skip
    assert second["speech"] == "/far/b.flac"
    assert (second["id"], third["id"], second["speech"]) == ("2-a", "3-a", third["speech"])
    assert (second["label"], second["text"], second["speaker"]) == (None, "good day", "s1")
    assert mixed([tts], tmp_path)[0]["text"] == "Lights on"


def test_a_manifest_without_the_others_items_is_refused(manifests: list[Path], tmp_path: Path) -> None:
    write_json_lines(tmp_path / "texts.jsonl", [{"id": "t", "text": "no sound"}])
    with pytest.raises(UserError, match=r"texts.jsonl: no column 'speech', which other manifests"):
        mixed([manifests[0], tmp_path / "texts.jsonl"], tmp_path)


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"speech": None}, "column 'speech' is null in 1 of 1 rows"),
        ({"speech": [1]}, "column 'speech' holds list<.*> values, expected strings"),
        ({"speech": "a.wav", "audio": "b.wav"}, "columns 'speech' and 'audio', which are one in a mix"),
    ],
)
def test_a_path_is_never_made_up(row: dict[str, object], line: str, manifests: list[Path], tmp_path: Path) -> None:
    write_json_lines(tmp_path / "odd.jsonl", [{"id": "a", "text": "hello", **row}])
    with pytest.raises(UserError, match=rf"odd\.jsonl: {line}"):
        mixed([manifests[0], tmp_path / "odd.jsonl"], tmp_path)


def test_the_command_writes_and_counts(
    manifests: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mix" / "all.jsonl"
    main(["mix", str(out), *map(str, manifests), str(manifests[1])])
    rows = [row for _, row in read_json_lines(out)]
    assert [row["id"] for row in rows] == ["1-a", "2-a", "3-a"]
    assert capsys.readouterr().out.splitlines() == [
        f"{out}: 3 rows", f"  1 of {manifests[0]}", f"  1 of {manifests[1]}", f"  1 of {manifests[1]}"
    ]  # fmt: skip
    with pytest.raises(UserError, match="is one of the manifests to mix"):
        main(["mix", str(manifests[0]), *map(str, manifests)])
    assert run_script(main, ["mix", str(tmp_path / "tts"), str(manifests[1])]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'tts'}: Is a directory; choose another path, or free it\n"


def test_recordings_have_the_name_asked_for_and_links_are_followed(manifests: list[Path], tmp_path: Path) -> None:
    assert [set(row) & {"audio", "speech"} for row in mixed(manifests[1:], tmp_path)] == [{"audio"}]
    assert mixed(manifests[1:], tmp_path, sound="speech")[0]["speech"] == "/far/b.flac"
    (tmp_path / "disk" / "deep").mkdir(parents=True)
    (tmp_path / "data").symlink_to(tmp_path / "disk" / "deep")
    (tmp_path / "tts" / "clips").mkdir()
    (tmp_path / "tts" / "clips" / "a.wav").touch()
    row = mixed(manifests[:1], tmp_path / "data")[0]
    assert (tmp_path / "data" / row["speech"]).samefile(tmp_path / "tts" / "clips" / "a.wav")
