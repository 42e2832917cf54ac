"""img2dataset's folder to a manifest whose images are read out of the tars; killed runs go on."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from pictures import rows_of, save, skipped_of

from xmodal.corpora import CORPORA
from xmodal.data.image import read_image
from xmodal.errors import UserError

SCRIPT = Path(__file__).resolve().parents[3] / "data_prep" / "prepare.py"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two shards of four, with the parquet and the statistics that img2dataset writes beside them."""
    root = tmp_path / "cc12m"
    root.mkdir()
    for shard in range(2):
        with tarfile.open(root / f"{shard:05d}.tar", "w") as tar:
            for number in range(4):
                key = f"{shard:05d}{number:04d}"
                image = save(tmp_path / "made.png", 10 * shard + number).read_bytes()
                about = json.dumps({"caption": f"json {key}", "status": "success"}).encode()
                members = [("png", image), ("json", about), ("txt", f"text {key}".encode())]
                for ending, data in members if number else members[:2]:  # the first has its caption in the json alone
                    info = tarfile.TarInfo(f"{key}.{ending}")
                    info.size = 0 if (shard, number, ending) == (1, 3, "png") else len(data)
                    tar.addfile(info, io.BytesIO(data))
        (root / f"{shard:05d}.parquet").write_bytes(b"about the shard")
        (root / f"{shard:05d}_stats.json").write_text("{}")
    return root


@pytest.mark.parametrize("name", ["cc3m", "cc12m", "yfcc15m"])
def test_rows(corpus: Path, name: str) -> None:
    manifest = corpus / "train.parquet"
    assert CORPORA[name](corpus, corpus, None) == {manifest: 7, manifest.with_suffix(".skipped.jsonl"): 1}
    rows = rows_of(manifest)
    for row in rows:
        shard, _, key = row["id"].partition("/")
        assert key.startswith(shard)
        assert row["text"] == (f"json {key}" if key.endswith("0000") else f"text {key}")
        assert read_image(row["image"], corpus).getpixel((0, 0)) == (10 * int(shard) + int(key[-4:]), 10, 20)
    assert skipped_of(manifest) == {"000010003": "the image is empty"}


def test_names_with_more_dots_are_told_and_linked_folders_are_read(corpus: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "00002.tar", "w") as tar:
        for name, data in (("IMG_2.0.png", save(tmp_path / "made.png", 1).read_bytes()), ("IMG_2.0.txt", b"two")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    (tmp_path / "more").mkdir()
    (tmp_path / "00002.tar").rename(tmp_path / "more" / "00002.tar")
    (corpus / "more").symlink_to(tmp_path / "more")
    manifest = tmp_path / "out" / "train.parquet"
    assert CORPORA["cc12m"](corpus, manifest.parent, None) == {manifest: 7, manifest.with_suffix(".skipped.jsonl"): 2}
    assert "rename IMG_2.0.png, IMG_2.0.txt" in skipped_of(manifest)["IMG_2"]


def test_limit_and_mistakes(corpus: Path, tmp_path: Path) -> None:
    (corpus / "00001.tar").write_bytes(b"broken")
    out = tmp_path / "out"
    assert CORPORA["cc3m"](corpus, out, 3) == {out / "train.parquet": 3}  # the second tar is not reached
    assert CORPORA["cc3m"](corpus, out, 5) == {out / "train.parquet": 4, out / "train.skipped.jsonl": 1}
    assert rows_of(out / "train.parquet")[0]["image"].startswith(f"{corpus}/00000.tar@")
    (corpus / "00000.tar").unlink()
    with pytest.raises(UserError, match=r"no row in it; left out: .*00001.tar \(not a tar; 0 images before it\)"):
        CORPORA["cc3m"](corpus, tmp_path / "none", None)
    with pytest.raises(UserError, match=r"no .tar there; expected tars as img2dataset writes them"):
        CORPORA["cc3m"](tmp_path / "out", tmp_path / "none", None)
    assert not (tmp_path / "none").exists()


def spoil(tar: Path) -> None:
    """Nothing readable in it any more, but as long and as old as it was: whoever opens it, notices."""
    status = tar.stat()
    tar.write_bytes(b"x" * status.st_size)
    os.utime(tar, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_killed_run_opens_only_the_tars_that_were_not_done(tmp_path: Path) -> None:
    root, out = tmp_path / "cc12m", tmp_path / "out"
    for shard in range(8):
        (root / f"{shard % 2}").mkdir(parents=True, exist_ok=True)
        with tarfile.open(root / f"{shard % 2}" / f"{shard:05d}.tar", "w") as tar:
            for number in range(1500):
                for ending, data in (("jpg", b"x" * 10), ("txt", f"text {number}".encode())):
                    info = tarfile.TarInfo(f"{number:04d}.{ending}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    tars = sorted(root.rglob("*.tar"))
    run = subprocess.Popen([sys.executable, str(SCRIPT), "cc12m", str(root), str(out)], stderr=subprocess.DEVNULL)
    while run.poll() is None and len(list(out.glob(".train.parts/*.json"))) < 3:
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    done = len(list(out.glob(".train.parts/*.json")))
    assert 3 <= done < 8
    assert not (out / "train.parquet").exists()
    for tar_file in tars[:done]:
        spoil(tar_file)
    assert CORPORA["cc12m"](root, out, None) == {out / "train.parquet": 8 * 1500}
    expected = [(f"{t.parent.name}/{t.stem}/{n:04d}", f"text {n}") for t in tars for n in range(1500)]
    assert [(row["id"], row["text"]) for row in rows_of(out / "train.parquet")] == expected
    assert [path.name for path in out.iterdir()] == ["train.parquet"]  # nothing of the way there is left


def test_what_was_done_is_kept_and_what_changed_is_read_again(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    manifest = out / "train.parquet"
    written = CORPORA["cc3m"](corpus, out, None)
    before = manifest.stat().st_mtime_ns
    whole = (corpus / "00000.tar").read_bytes()
    status = (corpus / "00000.tar").stat()
    spoil(corpus / "00000.tar")
    assert CORPORA["cc3m"](corpus, out, None) == written == {manifest: 7, manifest.with_suffix(".skipped.jsonl"): 1}
    assert manifest.stat().st_mtime_ns == before
    os.utime(corpus / "00000.tar")  # a new date: opened, and found spoilt
    assert CORPORA["cc3m"](corpus, out, None)[manifest] == 3
    (corpus / "00000.tar").write_bytes(whole)
    os.utime(corpus / "00000.tar", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert CORPORA["cc3m"](corpus, out, None)[manifest] == 7
    manifest.with_suffix(".skipped.jsonl").unlink()  # a kill between the two files
    assert CORPORA["cc3m"](corpus, out, None) == written
    (out / ".train.parts").mkdir()
    (out / ".train.parts" / "mine").touch()
    assert CORPORA["cc3m"](corpus, out, 2)[manifest] == 2
    assert [path.name for path in (out / ".train.parts").iterdir()] == ["mine"]
    (corpus / "00002.tar").write_bytes(whole)
    assert CORPORA["cc3m"](corpus, out, None)[manifest] == 11
    with pytest.raises(UserError, match=r"train.parquet: in the way, the manifest of cc3m; choose another OUT"):
        CORPORA["cc12m"](corpus, out, None)
