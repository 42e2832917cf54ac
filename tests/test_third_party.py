"""A package of somebody else's, installed: its objective, tower and evaluator train and evaluate from YAML alone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent / "third_party"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package installed in it, metadata and entry points included."""
    folder = tmp_path_factory.mktemp("third_party")
    shutil.copytree(PACKAGE, folder / "source")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--target", folder / "site", folder / "source"], check=True, capture_output=True)
    return folder / "site"


def xmodal(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    paths = [str(p) for p in (path, os.environ.get("PYTHONPATH")) if p]
    command = [sys.executable, "-m", "xmodal", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    )


@pytest.fixture
def config(tiny_pairs: Path, tmp_path: Path) -> Path:
    (tmp_path / "lines.txt").write_text("play the music\nstop the lights\ncall the alarm\n")
    path = tmp_path / "config.yaml"
    path.write_text(
        f"""
output: {tmp_path / "run"}
data: {{train: {tiny_pairs / "train.jsonl"}}}
towers:
  speech:
    {{kind: speech_encoder, sample_rate: 8000, mels: 20, fft: 256, high: 3900, width: 16,
      layers: 1, heads: 2, feed_forward: 32, strides: [2, 2]}}
  text: {{kind: letters, width: 12}}
objective:
  align: {{kind: cwcl}}
  labels: {{kind: supcon_extra, smoothing: 0.1, weight: {{schedule: linear, from: 1, to: 0}}}}
train: {{steps: 6, batch_size: 10, save_every: 0, threads: 1, trackers: [jsonl], log_every: 1}}
evaluators:
  spread: {{kind: "xmodal_extra.evaluators:Spread", test: {tmp_path / "lines.txt"}, scale: 2}}
"""
    )
    return path


def test_it_trains_and_evaluates_from_yaml_alone(installed: Path, config: Path, tmp_path: Path) -> None:
    done = xmodal("train", str(config), "train.best=spread/spread", path=installed)
    assert done.returncode == 0, done.stderr
    assert "spread" in done.stdout
    rows = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert "train/align/loss" in rows
    assert "train/labels/loss" in rows
    assert "eval/spread/spread" in rows

    code = (
        "import sys, xmodal; e = xmodal.load(sys.argv[1], trust_remote_code=sys.argv[2] == 'yes');"
        "print(tuple(e.encode('text', ['play it']).shape))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")])}

    def load(trusted: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, str(tmp_path / "run"), trusted]
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    assert load("yes").stdout.strip() == "(1, 12)"
    refused = load("no")
    assert refused.returncode == 1
    assert "its text tower needs code from outside xmodal (xmodal_extra.towers:Letters)" in refused.stderr
    assert "trust_remote_code=True" in refused.stderr

    # the command says it in one line, and takes the option
    told = xmodal(
        "embed", str(tmp_path / "run"), str(tmp_path / "lines.txt"), "--out", str(tmp_path / "z.npy"), path=installed
    )
    assert told.returncode == 2
    assert "--trust-remote-code" in told.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["objective.labels.smoothing=2"], "objective.labels.smoothing: 2 must be less than 1"),
        (["objective.labels.smoothin=0"], "smoothin: unknown key; did you mean objective.labels.smoothing?"),
        (["objective.labels.kind=supcon_extr"], "objective.labels.kind: 'supcon_extr' is not one of"),
        (["objective.labels={kind: 'xmodal_extra.losses:Nope'}"], "labels.kind: 'xmodal_extra.losses:Nope': "),
        (["objective.labels={kind: 'xmodal_extra.towers:Backbone'}"], "xmodal_extra.towers:Backbone is no objective"),
        (["towers.text={kind: 'nowhere.towers:It'}"], "towers.text.kind: 'nowhere.towers:It': nowhere.towers"),
        (["evaluators.spread.scal=1"], "evaluators.spread.scal: unknown key; did you mean evaluators.spread.scale?"),
    ],
)  # fmt: skip
def test_its_mistakes_are_told_as_well_as_our_own(
    installed: Path, config: Path, overrides: list[str], line: str
) -> None:
    done = xmodal("train", str(config), *overrides, path=installed)
    assert done.returncode == 2
    [told] = done.stderr.strip().splitlines()
    assert line in told


def test_the_objective_is_under_forty_lines() -> None:
    assert len((PACKAGE / "xmodal_extra" / "losses.py").read_text().splitlines()) < 40
