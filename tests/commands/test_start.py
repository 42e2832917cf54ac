"""Help and a wrong path answer at once: nothing heavy is imported; an encoder imports what its towers need."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from xmodal.commands.cli import COMMANDS
from xmodal.config.load import load_config
from xmodal.training.trainer import Trainer

HEAVY = ("torch", "numpy", "transformers", "datasets", "pandas", "pyarrow", "matplotlib", "scipy", "sklearn", "PIL")
SECONDS = 0.5  # of CPU time

# Runs the command and prints the heavy packages that were imported.
COMMAND = """
import json, sys
from xmodal.commands.cli import main
from xmodal.errors import run_script
try:
    code = run_script(main, sys.argv[2:])
except SystemExit as end:
    code = end.code
print(json.dumps([code, [name for name in json.loads(sys.argv[1]) if name in sys.modules]]))
"""

WRONG = {
    "train": ["nowhere.yaml"],
    "demo": ["--train.steps", "5"],
    "teach": ["nowhere.yaml"],
    "sweep": ["nowhere.yaml"],
    "compare-objectives": ["nowhere.yaml", "--objectives", "infonce", "cwcl"],
    "prepare": ["fsdd", "nowhere", "out"],
    "verify": ["imagenet", "nowhere"],
    "choose-kernel": ["nowhere.yaml"],
    "objectives": ["--nothing"],
    "synthesize": ["nowhere.jsonl", "out"],
    "make-words": ["out.jsonl", "--count", "0"],
    "mix": ["out.jsonl", "nowhere.jsonl"],
    "split": ["nowhere.jsonl", "out"],
    "make-demo": ["out", "--processes", "0"],
    "embed-frozen": ["nowhere.yaml"],
    "zero-shot": ["nowhere"],
    "speech-intent": ["nowhere"],
    "listen": ["nowhere"],
    "keywords": ["nowhere", "--test", "nowhere.jsonl"],
    "folds": ["nowhere", "--test", "nowhere.jsonl"],
    "slurp-score": ["nowhere.jsonl", "nowhere.jsonl"],
    "retrieval": ["nowhere", "--test", "nowhere.jsonl"],
    "robustness": ["nowhere", "--dataset", "nowhere.jsonl"],
    "probe": ["nowhere", "--test", "nowhere.jsonl"],
    "compare": ["nowhere", "elsewhere"],
    "embed": ["nowhere", "nowhere", "--out", "x.npy"],
    "index": ["nowhere.parquet"],
    "search": ["nowhere.parquet", "nowhere", "red"],
    "push": ["nowhere", "jo/spoken"],
    "app": ["nowhere"],
    "mteb": ["nowhere", "--tasks", "STSBenchmark"],
    "export": ["nowhere", "out", "--format", "onnx"],
}


def imported(arguments: list[str], cwd: Path) -> tuple[int, list[str], float]:
    """Exit code, heavy packages imported, CPU seconds of `xmodal ARGUMENTS` in a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", COMMAND, json.dumps(HEAVY), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=cwd)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    code, found = json.loads(done.stdout.splitlines()[-1])
    return code, found, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def test_every_command_has_a_mistake_here() -> None:
    assert WRONG.keys() == COMMANDS.keys()


@pytest.mark.parametrize("arguments", [[], ["--version"], ["trian"], *([name, "--help"] for name in COMMANDS)], ids=str)
def test_help_imports_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code, found, seconds = imported(arguments, tmp_path)
    assert code == (2 if arguments == ["trian"] else 0)
    assert found == []
    assert seconds < SECONDS


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_path_imports_nothing_heavy(name: str, tmp_path: Path) -> None:
    code, found, seconds = imported([name, *WRONG[name]], tmp_path)
    assert code == 2
    assert found == []
    assert seconds < SECONDS
    assert list(tmp_path.iterdir()) == []


# What neither a text tower nor a speech tower of xmodal's own needs.
UNNEEDED = (
    "transformers", "open_clip", "timm", "peft", "accelerate", "datasets", "pandas", "pyarrow", "matplotlib", "scipy",
    "sklearn", "torchvision", "jinja2",
)  # fmt: skip

ENCODE = """
import json, sys
import xmodal
encoder = xmodal.load(sys.argv[1])
encoder.encode("text", ["play the music"])
encoder.encode("speech", [sys.argv[2]])
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_an_encoder_imports_what_its_towers_need(tiny_config: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    text = "towers.text={kind: text_encoder, width: 16, layers: 1, heads: 2}"
    Trainer(load_config(tiny_config, [text, "evaluators={}", "train.steps=1", "pairs=[[speech, text]]"])).fit()
    command = [sys.executable, "-c", ENCODE, str(tmp_path / "run"), str(tiny_pairs / "play_music_0.wav")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert "torch" in found
    assert [name for name in UNNEEDED if name in found] == []
