"""ESC-50, ESC-10 and UrbanSound8K in miniature: folds, and clips that cannot be used."""

import json
from pathlib import Path

import pytest
from sounds import contents, empty, left_out, record, rows_of

from xmodal.corpora.sound.esc import prepare_esc10, prepare_esc50
from xmodal.corpora.sound.urbansound8k import prepare as prepare_urbansound8k
from xmodal.errors import UserError


@pytest.fixture
def esc50(tmp_path: Path) -> Path:
    root = tmp_path / "ESC-50-master"
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        for target, (category, ten) in enumerate({"dog": True, "clock_tick": False}.items()):
            name = f"{fold}-{100 + target}-A-{target}.wav"
            record(root / "audio" / name, seed=fold)
            lines.append(f"{name},{fold},{target},{category},{ten},{100 + target},A")
    lines += ["1-gone-A-0.wav,1,0,dog,True,7,A", "1-zero-A-0.wav,1,0,dog,True,8,A", "9-far-A-0.wav,9,0,dog,True,9,A",
              "1-none-A-0.wav,1,0,,True,9,A"]  # fmt: skip
    empty(root / "audio" / "1-zero-A-0.wav")
    (root / "meta").mkdir()
    (root / "meta" / "esc50.csv").write_text("\n".join(lines) + "\n")
    return root


def test_esc50(esc50: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = prepare_esc50(esc50, out)
    assert written[out / "all.jsonl"] == 10
    assert written[out / "all.skipped.jsonl"] == 4
    for fold in range(1, 6):
        train, test = rows_of(out / f"fold{fold}_train.jsonl"), rows_of(out / f"fold{fold}_test.jsonl")
        assert {row["fold"] for row in test} == {fold}
        assert {row["fold"] for row in train} == set(range(1, 6)) - {fold}
        assert len({row["id"] for row in train + test}) == 10
    assert rows_of(out / "fold2_test.jsonl")[1] == {
        "id": "2-101-A-1", "audio": str((esc50 / "audio/2-101-A-1.wav").resolve()), "label": "clock_tick",
        "text": "clock tick", "fold": 2, "source": "101", "seconds": 0.1,
    }  # fmt: skip
    assert json.loads((out / "names.json").read_text()) == {"clock_tick": "clock tick", "dog": "dog"}
    found = left_out(out / "all.jsonl")
    assert found.pop("1-zero-A-0.wav").startswith("cannot be decoded")
    assert found == {
        "1-gone-A-0.wav": "no such file",
        "9-far-A-0.wav": "fold '9', expected 1 to 5",
        "1-none-A-0.wav": "empty category",
    }
    again = contents(out)
    prepare_esc50(esc50, out)
    assert contents(out) == again


def test_esc10_is_a_part_of_esc50(esc50: Path, tmp_path: Path) -> None:
    prepare_esc10(esc50, tmp_path / "out")
    assert {row["label"] for row in rows_of(tmp_path / "out" / "all.jsonl")} == {"dog"}


def test_esc10_of_class_folders(tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    for fold in range(1, 6):
        for number, folder in enumerate(("001 - Dog bark", "002 - Rain")):
            record(root / folder / f"{fold}-{number}77-B.ogg", rate=16_000, seconds=0.3)
    record(root / "002 - Rain" / "other.wav")
    (root / "extra").mkdir()
    assert prepare_esc10(root, out, limit=2)[out / "fold1_train.jsonl"] == 2
    prepare_esc10(root, out)
    assert rows_of(out / "fold3_test.jsonl")[0]["label"] == "dog_bark"
    assert left_out(out / "all.jsonl") == {
        "extra": "not a class folder named NNN - Name",
        "other.wav": "not named FOLD-SOURCE-TAKE",
    }


def test_the_real_esc10(xmodal_data: Path, tmp_path: Path) -> None:
    written = prepare_esc10(xmodal_data / "esc10", tmp_path)
    assert {rows for path, rows in written.items() if path.name.endswith("_test.jsonl")} == {80}
    rows = rows_of(tmp_path / "all.jsonl")
    assert len(rows) == 400
    folds = {source: {row["fold"] for row in rows if row["source"] == source} for source in {r["source"] for r in rows}}
    assert all(len(found) == 1 for found in folds.values())  # no recording is in two folds


def test_a_fold_without_clips(esc50: Path, tmp_path: Path) -> None:
    for file in (esc50 / "audio").glob("4-*"):
        file.unlink()
    with pytest.raises(UserError, match=r"fold 4 has no clip that can be used \(8 clips in the others, 6 left out\)"):
        prepare_esc50(esc50, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def urban(tmp_path: Path) -> Path:
    root = tmp_path / "UrbanSound8K"
    lines = ["slice_file_name,fsID,start,end,salience,fold,classID,class"]
    for fold in range(1, 11):
        name = f"{fold}00-3-0-0.wav"
        record(root / "audio" / f"fold{fold}" / name, rate=96_000, channels=2, subtype="PCM_24")
        lines.append(f"{name},{fold}00,0.0,0.1,{1 + fold % 2},{fold},3,dog_bark")
    lines += ["gone-3-0-0.wav,7,0,1,1,2,3,dog_bark", "odd-3-0-0.wav,7,0,1,1,11,3,dog_bark"]
    (root / "metadata").mkdir()
    (root / "metadata" / "UrbanSound8K.csv").write_text("\n".join(lines) + "\n")
    return root


def test_urbansound8k(urban: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = prepare_urbansound8k(urban.parent, out)
    assert len([path for path in written if path.name.startswith("fold")]) == 20
    assert rows_of(out / "fold10_test.jsonl") == [{
        "id": "1000-3-0-0", "audio": str((urban / "audio/fold10/1000-3-0-0.wav").resolve()), "label": "dog_bark",
        "text": "dog bark", "fold": 10, "source": "1000", "salience": "foreground", "seconds": 0.1,
    }]  # fmt: skip
    assert left_out(out / "all.jsonl") == {
        "gone-3-0-0.wav": "no such file",
        "odd-3-0-0.wav": "fold '11', expected 1 to 10",
    }
