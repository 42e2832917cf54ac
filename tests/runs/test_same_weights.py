"""Weights that two runs hold alike are one file; each run stays whole when the other goes."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from xmodal.runs.same_weights import link_same_weights


def run_of(folder: Path, value: float) -> Path:
    """A run whose text tower is always the same, and whose speech tower holds `value`."""
    for side, number in (("text", 1.0), ("speech", value)):
        (folder / "towers" / side).mkdir(parents=True)
        save_file({"w": torch.full((1000,), number)}, folder / "towers" / side / "model.safetensors")
    return folder


def test_what_is_the_same_is_one_file(tmp_path: Path) -> None:
    first, second = run_of(tmp_path / "a", 2.0), run_of(tmp_path / "b", 3.0)
    text, speech = (Path("towers") / side / "model.safetensors" for side in ("text", "speech"))
    size = (second / text).stat().st_size
    assert link_same_weights(second, [tmp_path / "none", first]) == size
    assert (second / text).samefile(first / text)
    assert not (second / speech).samefile(first / speech)
    assert link_same_weights(second, [first]) == 0  # nothing is left to do
    shutil.rmtree(first)
    assert load_file(second / text)["w"].eq(1).all()
    assert load_file(second / speech)["w"].eq(3).all()
    assert [f.name for f in (second / text).parent.iterdir()] == ["model.safetensors"]


def test_a_disk_without_links_keeps_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError("not supported")

    first, second = run_of(tmp_path / "a", 2.0), run_of(tmp_path / "b", 2.0)
    monkeypatch.setattr("os.link", no_links)
    assert link_same_weights(second, [first]) == 0
    assert len(list(second.rglob("*"))) == len(list(first.rglob("*")))
