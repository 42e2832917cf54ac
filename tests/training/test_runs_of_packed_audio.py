"""Whole runs on recordings that are no files of their own: in tars and in parquet, trained as the files are."""

import io
import json
import tarfile
from pathlib import Path

import datasets
import pandas as pd
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from xmodal.config.load import load_config
from xmodal.training.trainer import Trainer

SHORT = ["train.steps=4", "train.trackers=[jsonl]", "evaluators={}", "data.max_bad=0.2", "data.buckets=0"]
COLUMN = "data.modalities.speech.column=audio"


@pytest.fixture
def rows(tiny_pairs: Path) -> list[dict[str, str]]:
    """The tiny pairs, in the order that tars and folders have them in."""
    found = [json.loads(line) for line in (tiny_pairs / "train.jsonl").read_text().splitlines()]
    return sorted(found, key=lambda row: row["id"])[:40]


@pytest.fixture
def tars(rows: list[dict[str, str]], tiny_pairs: Path, tmp_path: Path) -> Path:
    """Two tars of webdataset, wav in one and flac in the other; a recording that is none, an empty one, one unsaid."""
    (tmp_path / "tars").mkdir()
    for shard in range(2):
        with tarfile.open(tmp_path / "tars" / f"{shard}.tar", "w") as tar:

            def add(name: str, data: bytes, tar: tarfile.TarFile = tar) -> None:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))

            for row in rows[shard::2]:
                data = (tiny_pairs / row["speech"]).read_bytes()
                if shard:
                    wave, rate = soundfile.read(tiny_pairs / row["speech"], dtype="int16")
                    packed = io.BytesIO()
                    soundfile.write(packed, wave, rate, format="FLAC")
                    data = packed.getvalue()
                add(f"{row['id']}.{'flac' if shard else 'wav'}", data)
                add(f"{row['id']}.txt", row["text"].encode())
                add(f"{row['id']}.cls", row["label"].encode())
            if shard:
                add("zzbad.wav", b"no audio")
                add("zzbad.txt", b"no audio")
                add("zzempty.wav", b"")
                add("zzempty.txt", b"empty")
                add("zzunsaid.wav", b"x")
    return tmp_path / "tars"


def trained(config: Path, output: Path, *overrides: str) -> tuple[dict[str, torch.Tensor], dict]:
    Trainer(load_config(config, [f"output={output}", *SHORT, *overrides])).fit()
    return load_file(output / "model.safetensors"), json.loads((output / "training.json").read_text())["data"]


def test_tars_train_as_the_files_do(
    tiny_config: Path, tiny_pairs: Path, rows: list[dict[str, str]], tars: Path, tmp_path: Path
) -> None:
    ordered = rows[0::2] + rows[1::2]
    listing = [
        {**row, "id": f"{number // 20}/{row['id']}", "speech": str(tiny_pairs / row["speech"])}
        for number, row in enumerate(ordered)
    ]
    (tmp_path / "files.jsonl").write_text("".join(json.dumps(row) + "\n" for row in listing))
    files, _ = trained(tiny_config, tmp_path / "files", f"data.train={tmp_path / 'files.jsonl'}", "optim.lr=1e-3")
    packed, facts = trained(tiny_config, tmp_path / "packed", f"data.train={tars}", COLUMN, "optim.lr=1e-3")
    for name, value in files.items():
        assert torch.equal(packed[name], value), name
    assert (facts["used"], facts["seen"]) == (40, 43)
    reasons = {each["examples"][0][0]: each["reason"] for each in facts["left_out"]}
    assert reasons.keys() == {"1/zzbad", "1/zzempty", "1/zzunsaid"}
    assert reasons["1/zzempty"] == "the audio is empty"
    assert reasons["1/zzunsaid"] == "no caption"
    assert reasons["1/zzbad"].endswith("cannot be decoded (Format not recognised)")


def test_streamed_tars(tiny_config: Path, tars: Path, tmp_path: Path) -> None:
    stream = [f"data.train={tars}", COLUMN, "data.streaming=true", "data.shuffle_buffer=8"]
    weights, facts = trained(tiny_config, tmp_path / "run", *stream)
    assert all(bool(torch.isfinite(value).all()) for value in weights.values() if value.is_floating_point())
    assert facts["used"] + sum(each["count"] for each in facts["left_out"]) == facts["seen"]


@pytest.mark.parametrize("form", ["pandas", "folder", "struct"])
def test_parquet_trains_as_the_files_do(
    tiny_config: Path, tiny_pairs: Path, rows: list[dict[str, str]], tmp_path: Path, form: str
) -> None:
    listing = [{**row, "speech": str(tiny_pairs / row["speech"])} for row in rows]
    (tmp_path / "files.jsonl").write_text("".join(json.dumps(row) + "\n" for row in listing))
    table = [{**row, "speech": (tiny_pairs / row["speech"]).read_bytes()} for row in rows]
    path = tmp_path / "parquet" / "train.parquet"
    path.parent.mkdir()
    if form == "struct":
        for row in table:
            row["speech"] = {"bytes": row["speech"], "path": f"{row['id']}.wav"}
        audio = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
        texts = {name: datasets.Value("string") for name in ("id", "text", "label")}
        found = datasets.Dataset.from_list(table, features=datasets.Features({**texts, "speech": audio}))
        found.cast_column("speech", datasets.Audio(decode=False)).to_parquet(str(path))
    else:
        pd.DataFrame(table).to_parquet(path)
    files, _ = trained(tiny_config, tmp_path / "a", f"data.train={tmp_path / 'files.jsonl'}")
    packed, _ = trained(tiny_config, tmp_path / "b", f"data.train={path.parent if form == 'folder' else path}")
    for name, value in files.items():
        assert torch.equal(packed[name], value), name
