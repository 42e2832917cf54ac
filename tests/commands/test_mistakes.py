"""A mistake is one line and exit code 2, whatever the script; and every script has its help.

A script in eval/ or data_prep/ needs a mistake in MISTAKES, and a test named after it, `test_eval_compare`, in
test_scripts.py or test_scripts_images.py.
"""

import shutil
from pathlib import Path

import pytest
import test_scripts
import test_scripts_images
from run_script import ROOT, in_process, script, works

from xmodal.commands.cli import COMMANDS

# Script, arguments, what its one line says. {here}: a folder that holds nothing but texts.jsonl and config.yaml.
MISTAKES = {
    "eval/compare.py": (["{here}", "{here}"], "{here}: no report there"),
    "eval/embed.py": (["{here}", "{here}", "--out", "x.csv"], "x.csv: expected a name that ends in .parquet or .npy"),
    "eval/probe.py": (["nowhere", "--test", "a.jsonl"], "nowhere: not a run folder (no config.yaml)"),
    "eval/retrieval.py": (["{here}", "--test", "{here}/texts.jsonl"], "{here}: no weights"),
    "eval/robustness.py": (
        ["{here}", "--dataset", "{here}/texts.jsonl", "--prompts", "plain", "--max-bad", "2"],
        "--max-bad: found 2, expected a share between 0 and 1",
    ),
    "eval/search.py": (["{here}/e.parquet", "{here}", "red"], "e.parquet: no such file; make it with xmodal embed"),
    "eval/speech_intent.py": (["{here}", "--audio", "a.wav"], "--audio and --intent go together"),
    "eval/sweep.py": (["{here}/nothing.yaml"], "{here}/nothing.yaml: no such file; there: config.yaml"),
    "eval/zero_shot.py": (
        ["{here}", "--prompts", "cifar"],
        "--max-bad, --items, --trained go with --dataset",
    ),
    "data_prep/embed_frozen.py": (["{here}/config.yaml"], "{here}/config.yaml: no tower of kind store"),
    "data_prep/make_demo.py": (["{here}/texts.jsonl"], "{here}/texts.jsonl: "),
    "data_prep/prepare.py": (["fsdd", "{here}", "{here}/out"], "{here}/recordings: no such folder"),
    "data_prep/verify.py": (["cifar10", "{here}/nowhere"], "{here}/nowhere: "),
    "data_prep/synthesize_speech.py": (["{here}/nothing.jsonl", "{here}/out"], "{here}/nothing.jsonl: no such file"),
    "xmodal/train.py": (["{here}/config.yaml", "train.setps=5"], "train.setps: unknown key; did you mean train.steps?"),
}
MORE_MISTAKES = [
    ("eval/retrieval.py", ["{here}", "--k", "0"], "--k: found 0, expected a whole number, 1 or more"),
    ("eval/retrieval.py", ["{here}", "--k", "5"], "--text-column, --k, --max-bad go with --test"),
    ("eval/robustness.py", ["a", "a", "--dataset", "x", "--prompts", "plain"], "a run is given twice"),
    (
        "eval/search.py",
        ["{here}/texts.jsonl", "{here}", "red", "--html", "x.txt"],
        "x.txt: expected a name that ends",
    ),
    ("eval/zero_shot.py", ["{here}/nowhere"], "{here}/nowhere: not a run folder (no config.yaml)"),
    ("eval/zero_shot.py", ["{here}", "--dataset", "texts.json"], "texts.json: no such file"),
    ("eval/zero_shot.py", ["{here}", "--suite", "imagnet"], "shipped with xmodal; did you mean imagenet?"),
    ("eval/zero_shot.py", ["{here}", "--dataset", "texts.jsonl", "--max-bad", "x"], "--max-bad: found x, expected"),
    ("eval/compare.py", ["{here}", "{here}/nowhere"], "{here}/nowhere: no such folder"),
    ("eval/sweep.py", ["sweeps/fssd"], "sweeps/fssd: no such file, and nothing of this name is shipped"),
    ("eval/sweep.py", ["fsdd", "--jobs", "none"], "--jobs: found none, expected a whole number, 1 or more"),
    ("data_prep/prepare.py", ["fsd", "{here}", "{here}/out"], "yfcc15m; did you mean fsdd?"),
    ("data_prep/embed_frozen.py", ["cifar10_cvcl"], "cifar10_cvcl: no such file, and nothing of this name is shipped"),
    ("xmodal/train.py", ["demo_cwlc"], "shipped with xmodal; did you mean demo_cwcl?"),
    ("xmodal/train.py", ["elsewhere"], "shipped with xmodal; shipped are cc12m/clip_scratch, "),
    ("xmodal/train.py", ["configs/demo_cwcl.yaml"], "no such file; the one shipped with xmodal is called demo_cwcl"),
    ("xmodal/train.py", ["."], ".: is a folder, expected a YAML file"),
    ("eval/zero_shot.py", ["open_clip:", "--dataset", "{here}"], "model 'open_clip:': expected open_clip:NAME"),
    ("data_prep/prepare.py", ["fsdd", "{here}", "{here}/out", "--limit", "0"], "--limit: found 0, expected a whole"),
    ("data_prep/synthesize_speech.py", ["{here}/texts.jsonl", "{here}/out", "--per-text", "0"], "--per-text: found 0"),
    ("xmodal/train.py", ["{here}/confg.yaml"], "{here}/confg.yaml: no such file; did you mean {here}/config.yaml?"),
]


@pytest.fixture
def here(tiny_config: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    shutil.copy(tiny_config, folder / "config.yaml")
    (folder / "texts.jsonl").write_text('{"text": "turn on the lights"}\n')
    return folder


def test_every_script_has_a_test_and_a_mistake() -> None:
    names = {f"{folder}/{p.name}" for folder in ("eval", "data_prep") for p in (ROOT / folder).glob("*.py")}
    assert names == MISTAKES.keys() - {"xmodal/train.py"}
    tests = vars(test_scripts).keys() | vars(test_scripts_images).keys()
    assert {f"test_{name.removesuffix('.py').replace('/', '_')}" for name in names} <= tests


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        pytest.param(name, *rest, id=f"{name}-{number}")
        for number, (name, *rest) in enumerate([(name, *rest) for name, rest in MISTAKES.items()] + MORE_MISTAKES)
    ],
)
def test_a_mistake_is_one_line(
    here: Path,
    name: str,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(here)
    assert in_process(name, *(a.format(here=here) for a in arguments)) == 2
    printed = capsys.readouterr()
    [line] = printed.err.splitlines()
    assert line.startswith("error: ")
    assert message.format(here=here) in line
    assert printed.out == ""
    assert sorted(p.name for p in here.iterdir()) == ["config.yaml", "texts.jsonl"]  # nothing half made


@pytest.mark.parametrize(
    "name", ["eval/compare.py", "eval/speech_intent.py", "eval/zero_shot.py", "data_prep/prepare.py", "xmodal/train.py"]
)
def test_debug_shows_where_it_happened(here: Path, name: str) -> None:
    arguments, message = MISTAKES[name]
    done = script(name, *(a.format(here=here) for a in arguments), "--debug", cwd=here)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("error: ")
    assert message.format(here=here) in lines[-1]


@pytest.mark.parametrize("name", MISTAKES)
def test_help(name: str, tmp_path: Path) -> None:
    printed = works(name, "--help", cwd=tmp_path)
    command = Path(name).stem.replace("_", "-").removesuffix("-speech")
    assert command in COMMANDS
    assert printed[0].startswith(f"usage: xmodal {command} ")
    assert not any("%%" in line or "%(" in line for line in printed)
