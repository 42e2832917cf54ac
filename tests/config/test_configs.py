"""Every run the repository ships is a valid config."""

from pathlib import Path

import pytest

from xmodal.config import load_config

FOLDER = Path(__file__).resolve().parents[2] / "configs"
CONFIGS = sorted(path for folder in ("", "cc12m", "coco") for path in (FOLDER / folder).glob("*.yaml"))


def test_the_glob_finds_what_the_folder_holds() -> None:
    files = [p for p in FOLDER.iterdir() if p.is_file()] if FOLDER.is_dir() else []
    assert bool(CONFIGS) == bool(files), f"{FOLDER}: {files}, but no *.yaml"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.relative_to(FOLDER).as_posix())
def test_config_loads(path: Path) -> None:
    config = load_config(path)
    assert config.tower_pairs()
    for name in config.towers:
        assert config.modality(name).kind in ("text", "audio", "image")


def test_a_run_without_its_tests_is_one_override() -> None:
    path = FOLDER / "cc12m" / "lit.yaml"
    assert set(load_config(path).evaluators) == {"imagenet", "karpathy"}
    assert load_config(path, ["evaluators={}"]).evaluators == {}
    one = load_config(path, ["evaluators={karpathy: {kind: retrieval, test: data/coco/test.parquet}}"])
    assert list(one.evaluators) == ["karpathy"]
    assert one.evaluators["karpathy"] == load_config(path).evaluators["karpathy"]
