"""What docs/coming_from.md says is ours runs, with a tiny model of open_clip and pictures made on the spot."""

from pathlib import Path

import pytest
from markdown_code import boxes, run_page, write_named
from picture_runs import make_pictures
from tiny_models import open_clip_files

from xmodal.config.load import load_config

PAGE = Path(__file__).resolve().parents[2] / "docs" / "coming_from.md"


def test_its_configs_are_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written = [file for box in boxes(PAGE) if box.language == "yaml" and (file := write_named(box))]
    assert [file.name for file in written] == ["lit.yaml", "hear.yaml", "sounds.yaml"]
    for file in written:
        assert len(load_config(file).towers) == 2


def test_its_commands_and_python_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_pictures(tmp_path)
    config, weights, _ = open_clip_files(tmp_path / "tiny")
    photo = next((tmp_path / "photos").rglob("*.png"))
    monkeypatch.chdir(tmp_path)
    replaced = {
        "open_clip:ViT-B-32@laion2b_s34b_b79k": f"open_clip:{config}@{weights}",
        "data/cifar10/test.parquet": "test.jsonl",
        "data/flickr30k_karpathy/test.parquet": "test.jsonl",
        '["a.jpg"]': f'["{photo}"]',
    }
    names = run_page(PAGE, replaced)
    assert names["image"].shape == (1, 24)
    assert names["text"].shape == (2, 24)
    assert Path("photos.parquet").is_file()
    assert "<img" in Path("hits.html").read_text()
    assert len(list(Path("reports").rglob("report.json"))) == 2
