"""Runs of format 1, written by the code of 0.1.0: they load, and encode what they encoded on that day, for ever.

How the folders were made: `tests/fixtures/run_format_1/README.md`.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import xmodal

FIXTURES = Path(__file__).parents[1] / "fixtures" / "run_format_1"
RUNS = ["speech", "store", "images"]  # locked text tower; text tower from a store; two towers from scratch


@pytest.fixture
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the run folder alone, read-only, elsewhere: no data, no store, no model it was made from."""
    folder = Path(shutil.copytree(FIXTURES / request.param, tmp_path / "moved"))
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    return folder


@pytest.mark.parametrize("run", RUNS, indirect=True)
def test_a_run_encodes_what_the_code_that_wrote_it_encoded(
    run: Path, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the paths in its config lead nowhere
    expected_file = FIXTURES / f"{request.node.callspec.params['run']}.safetensors"
    tensors = load_file(expected_file)
    with safe_open(expected_file, "pt") as file:
        texts = json.loads(file.metadata()["texts"])
    encoder = xmodal.load(run, device="cpu")
    compared = []
    for key, expected in tensors.items():
        if "." in key:
            continue  # an input
        modality, _, rate = key.partition("_")
        items = texts if key == "text" else [tensors[f"{key}.{n}"].numpy() for n in range(len(expected))]
        found = encoder.encode(modality, items, sample_rate=int(rate) if rate else None)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6, msg=lambda text, key=key: f"{key}: {text}")
        compared.append(modality)
    assert set(compared) == set(encoder.modalities)


@pytest.mark.parametrize("run", RUNS, indirect=True)
def test_a_run_still_says_what_it_was_trained_on(run: Path) -> None:
    encoder = xmodal.load(run, device="cpu")
    assert encoder.trained_labels == set(json.loads((run / "labels.json").read_text()))
    assert (
        encoder.provenance["weights_from_step"] == json.loads((run / "training.json").read_text())["weights_from_step"]
    )


def test_the_folders_hold_no_path_of_the_machine_that_made_them() -> None:
    written = [path for path in FIXTURES.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in written) < 300_000
    for path in written:
        for place in (b"/tmp/", b"/home/", b"/root/"):
            assert place not in path.read_bytes(), f"{path} names a folder under {place.decode()}"
