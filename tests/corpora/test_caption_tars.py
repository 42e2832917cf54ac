"""img2dataset's folder to a manifest whose images are read out of the tars."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from pictures import rows_of, save, skipped_of

from xmodal.corpora import CORPORA
from xmodal.data.image import read_image
from xmodal.errors import UserError


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
