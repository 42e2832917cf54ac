"""Whole runs on tiny towers: what is written, what resumes, what the report says."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile
import torch
from safetensors.torch import load_file

import xmodal
from xmodal.config.load import load_config
from xmodal.errors import UserError
from xmodal.evaluation.classification.speech_intent import SpeechIntent
from xmodal.evaluation.runs.run_report import run_report
from xmodal.report.report import Report
from xmodal.training.trainer import Trainer

TRAIN = Path(xmodal.__file__).parent / "train.py"


def train(config: Path, *overrides: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(TRAIN), str(config), *overrides]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def run(tiny_config: Path, tmp_path: Path) -> Path:
    Trainer(load_config(tiny_config)).fit()
    return tmp_path / "run"


def test_a_run_folder_is_complete(run: Path, tiny_bert: Path) -> None:
    names = {p.name for p in run.iterdir()}
    assert names >= {"config.yaml", "versions.json", "model.safetensors", "towers", "metrics.jsonl", "report"}
    assert [p.name for p in (run / "checkpoints").iterdir()] == ["step-00000012"]
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows if "train/loss" in r] == [2, 4, 6, 8, 10, 12]
    expected = {"loss", "kl", "entropy", "effective_positives", "diagonal_mass", "temperature", "mutual_information"}
    assert {f"train/{name}" for name in expected} <= rows[0].keys()
    kept = load_file(run / "model.safetensors")
    assert not any(name.startswith("towers.text.") for name in kept)
    assert {"terms.objective.log_scale", "towers.speech.head.weight"} <= kept.keys()
    before, after = load_file(tiny_bert / "model.safetensors"), load_file(run / "towers" / "text" / "model.safetensors")
    for name in after:
        assert torch.equal(after[name], before[name])


def test_the_loss_falls_and_the_tower_learns(tiny_config: Path, tmp_path: Path) -> None:
    report = Trainer(load_config(tiny_config, ["train.steps=150", "objective.kind=infonce", "optim.lr=1e-2"])).fit()
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [r["train/loss"] for r in rows if "train/loss" in r]
    assert losses[-1] < 0.7 * losses[0]
    assert report.value("held/accuracy_mean") > 0.5  # chance is 1/4


def test_load_encodes_as_training_did(run: Path, tiny_config: Path, tiny_pairs: Path) -> None:
    encoder = xmodal.load(run)
    paths = sorted(tiny_pairs.glob("*_5.wav"))
    z = encoder.encode("speech", paths)
    assert z.shape == (12, 32)
    torch.testing.assert_close(z.norm(dim=1), torch.ones(12))
    waves = [soundfile.read(p, dtype="float32")[0] for p in paths]
    torch.testing.assert_close(encoder.encode("speech", waves, sample_rate=8000), z)
    torch.testing.assert_close(encoder.encode("speech", [str(p) for p in paths], batch_size=1), z, rtol=1e-4, atol=1e-5)
    texts = encoder.encode("text", ["play music", "stop"])
    assert texts.shape == (2, 32)
    with pytest.raises(UserError, match=r"'image'.*speech, text"):
        encoder.encode("image", [])
    with pytest.raises(UserError, match="sample rate"):
        encoder.encode("speech", waves)


def test_resume_in_a_fresh_process_is_bit_equal(tiny_config: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    assert train(tiny_config, f"output={whole}", "train.steps=30", "train.trackers=[jsonl]").returncode == 0
    command = [sys.executable, str(TRAIN), str(tiny_config), "train.steps=30", "train.trackers=[jsonl]"]
    broken = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    run = tmp_path / "run"
    deadline = time.time() + 120
    while not list((run / "checkpoints").glob("step-*[0-9]")) and time.time() < deadline:
        time.sleep(0.005)
    broken.send_signal(signal.SIGKILL)
    broken.wait()
    assert not (run / "report").exists()
    assert xmodal.load(run).encode("text", ["stop"]).shape == (1, 32)
    resumed = train(tiny_config, "train.steps=30", "train.trackers=[jsonl]", "train.resume=true")
    assert resumed.returncode == 0, resumed.stderr
    expected, found = load_file(whole / "model.safetensors"), load_file(run / "model.safetensors")
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    logged = [[json.loads(x)["step"] for x in (f / "metrics.jsonl").read_text().splitlines()] for f in (whole, run)]
    assert logged[0] == logged[1]


def test_training_from_a_store_gives_the_same_losses(tiny_config: Path, tiny_bert: Path, tmp_path: Path) -> None:
    store = f"towers.text={{kind: store, path: {tmp_path / 'store'}, tower: {{kind: transformers, name: {tiny_bert}}}}}"
    Trainer(load_config(tiny_config, [f"output={tmp_path / 'live'}"])).fit()
    Trainer(load_config(tiny_config, [f"output={tmp_path / 'stored'}", store])).fit()

    def losses(run: str) -> list[float]:
        rows = [json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        return [r["train/loss"] for r in rows if "train/loss" in r]

    assert losses("stored") == pytest.approx(losses("live"), rel=1e-4)
    texts = ["play the music now", "call it"]
    live, stored = (xmodal.load(tmp_path / r).encode("text", texts) for r in ("live", "stored"))
    torch.testing.assert_close(stored, live)


def test_best_weights_are_kept(tiny_config: Path, tmp_path: Path) -> None:
    Trainer(load_config(tiny_config, ["train.best=held/accuracy_mean", "train.eval_every=3"])).fit()
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    values = {r["step"]: r["eval/held/accuracy_mean"] for r in rows if "eval/held/accuracy_mean" in r}
    assert list(values) == [3, 6, 9, 12]
    report = json.loads((tmp_path / "run" / "report" / "report.json").read_text())
    found = {r["metric"]: r["value"] for r in report["records"]}
    assert found["accuracy_mean"] == max(values.values())
    assert values[report["provenance"]["weights_from_step"]] == max(values.values())


def test_two_processes_train_as_one(tiny_config: Path, tmp_path: Path) -> None:
    # a large eps: Adam turns rounding noise in gradients that are zero into whole steps
    common = ["train.steps=4", "optim.eps=1e-3", "towers.speech.dropout=0", "train.trackers=[jsonl]", "evaluators={}"]
    assert train(tiny_config, f"output={tmp_path / 'one'}", *common).returncode == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(TRAIN)]
    # the form for CPU: `accelerate launch --cpu --num_processes 2` runs one process
    two = subprocess.run(
        [*command, str(tiny_config), f"output={tmp_path / 'two'}", *common],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert two.returncode == 0, two.stderr[-2000:]
    one, other = load_file(tmp_path / "one" / "model.safetensors"), load_file(tmp_path / "two" / "model.safetensors")
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=2e-4, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}")


def test_training_with_the_whole_store_as_keys(tiny_config: Path, tiny_bert: Path, tmp_path: Path) -> None:
    store = f"towers.text={{kind: store, path: {tmp_path / 'store'}, tower: {{kind: transformers, name: {tiny_bert}}}}}"
    whole = ["objective.keys=store", "objective.scope=store", "train.steps=60", "optim.lr=1e-2"]
    Trainer(load_config(tiny_config, [store, *whole])).fit()
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [r["train/loss"] for r in rows if "train/loss" in r]
    assert losses[-1] < 0.9 * losses[0]
    assert all(r["train/kl"] >= 0 for r in rows if "train/loss" in r)
    assert xmodal.load(tmp_path / "run").encode("text", ["stop it"]).shape == (1, 32)  # no store is needed to encode


def test_siglip_trains_its_bias(tiny_config: Path, tmp_path: Path) -> None:
    Trainer(load_config(tiny_config, ["objective={kind: siglip, bias: -5}", "train.steps=20"])).fit()
    bias = load_file(tmp_path / "run" / "model.safetensors")["terms.objective.bias"]
    assert bias.shape == (1,)
    assert float(bias) != -5


def notes_of(report: Report) -> str:
    return " | ".join(report.notes)


def test_a_report_says_when_weights_were_chosen_on_its_test(tiny_config: Path) -> None:
    report = Trainer(load_config(tiny_config, ["train.best=held/accuracy_mean", "train.eval_every=4"])).fit()
    assert "held: the weights were chosen on this test (step " in notes_of(report)


def test_a_report_says_when_its_test_was_trained_on(tiny_config: Path, tiny_pairs: Path) -> None:
    report = Trainer(load_config(tiny_config, [f"data.train={tiny_pairs / 'test.jsonl'}"])).fit()
    assert "held: 12 of 12 test recordings are also training recordings." in report.notes


def test_the_report_of_an_unfinished_run_says_so(tiny_config: Path, tmp_path: Path) -> None:
    config = load_config(tiny_config)
    report = Trainer(config).fit()
    trained = "held: 4 of its classes occur in training (call, play, set, ...): prompted classification, not zero-shot."
    assert report.notes == [trained]
    (tmp_path / "run" / "training.json").unlink()  # as if it had been killed after its last checkpoint
    (tmp_path / "run" / "model.safetensors").unlink()
    encoder = xmodal.load(tmp_path / "run")
    again = run_report(tmp_path / "run", encoder, {"held": SpeechIntent(config.evaluators["held"])}, {})
    assert again.notes == [trained, "training is not finished: these are the weights of step 12 of 12."]
    assert again.value("held/accuracy_mean") == report.value("held/accuracy_mean")


def test_the_last_evaluation_is_on_the_curve(tiny_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {}

    def remember(series, title, ylabel):
        drawn[title] = series
        return b""

    monkeypatch.setattr("xmodal.evaluation.runs.run_report.curves", remember)
    Trainer(load_config(tiny_config, ["train.eval_every=4"])).fit()
    assert [step for step, _ in drawn["accuracy during training"]["held/accuracy_mean"]] == [4, 8, 12]


DIES = """
import os, sys
from xmodal.config.load import load_config
from xmodal.training.trainer import Trainer

class Dies(Trainer):
    def _evaluate(self):
        if self.state.step == int(sys.argv[2]):
            os._exit(9)  # as a kill would: nothing is cleaned up
        super()._evaluate()

Dies(load_config(sys.argv[1], sys.argv[3:])).fit()
"""


@pytest.mark.slow
def test_an_evaluation_that_was_killed_is_made_up_for(tiny_config: Path, tmp_path: Path) -> None:
    options = ["train.steps=12", "train.save_every=4", "train.eval_every=4", "train.best=held/accuracy_mean"]
    options += ["optim.lr=1e-2", "objective.kind=infonce"]
    Trainer(load_config(tiny_config, [*options, f"output={tmp_path / 'whole'}"])).fit()
    run = tmp_path / "killed"
    for step, resume in ((8, "false"), (12, "true")):
        arguments = [str(tiny_config), str(step), *options, f"output={run}", f"train.resume={resume}"]
        assert subprocess.run([sys.executable, "-c", DIES, *arguments], check=False).returncode == 9
    Trainer(load_config(tiny_config, [*options, f"output={run}", "train.resume=true"])).fit()

    def evaluations(folder: Path) -> list[tuple[int, float]]:
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        return [(r["step"], r["eval/held/accuracy_mean"]) for r in rows if "eval/held/accuracy_mean" in r]

    assert evaluations(run) == evaluations(tmp_path / "whole")
    kept, whole = load_file(run / "model.safetensors"), load_file(tmp_path / "whole" / "model.safetensors")
    for name in whole:
        assert torch.equal(kept[name], whole[name]), name


def test_a_run_that_was_moved_goes_on(tiny_config: Path, tmp_path: Path) -> None:
    Trainer(load_config(tiny_config)).fit()
    shutil.rmtree(tmp_path / "run" / "report")
    (tmp_path / "run").rename(tmp_path / "moved")
    report = Trainer(load_config(tiny_config, [f"output={tmp_path / 'moved'}", "train.resume=true"])).fit()
    assert report.value("held/accuracy_mean") > 0


CUT = """
import os, shutil, sys
import xmodal.runs.checkpoint
from xmodal.config.load import load_config
from xmodal.training.trainer import Trainer

seen = []
real = shutil.rmtree

def dies(path, *more, **options):
    if "step-" in str(path) and not str(path).endswith(".tmp"):
        seen.append(path)
        if len(seen) == int(sys.argv[2]):
            os.remove(next(p for p in path.iterdir() if p.name == "model.safetensors"))
            os._exit(9)  # in the middle of taking an older checkpoint away
    real(path, *more, **options)

xmodal.runs.checkpoint.shutil.rmtree = dies
Trainer(load_config(sys.argv[1], sys.argv[3:])).fit()
"""


@pytest.mark.slow
def test_a_kill_while_an_older_checkpoint_goes_costs_nothing(tiny_config: Path, tmp_path: Path) -> None:
    options = ["train.steps=12", "train.save_every=4", "train.eval_every=4", "train.best=held/accuracy_mean"]
    Trainer(load_config(tiny_config, [*options, f"output={tmp_path / 'whole'}"])).fit()
    whole = load_file(tmp_path / "whole" / "model.safetensors")
    for number in (1, 2, 3):
        run = tmp_path / f"cut{number}"
        arguments = [str(tiny_config), str(number), *options, f"output={run}"]
        assert subprocess.run([sys.executable, "-c", CUT, *arguments], check=False).returncode == 9
        trainer = Trainer(load_config(tiny_config, [*options, f"output={run}", "train.resume=true"]))
        assert trainer.state.step == 4 * (number // 2 + 1)
        trainer.fit()
        kept = load_file(run / "model.safetensors")
        assert all(torch.equal(kept[name], whole[name]) for name in whole)
