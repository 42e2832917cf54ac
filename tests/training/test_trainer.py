"""Whole runs on tiny towers: what is written, what resumes, what is refused.

Over 300 lines: every test trains the same tiny run and looks at what it leaves.
"""

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from accelerate import DistributedType
from safetensors.torch import load_file

import xmodal
from xmodal.batch import PairBatch
from xmodal.config.load import load_config
from xmodal.errors import UserError
from xmodal.evaluation.classification.speech_intent import SpeechIntent
from xmodal.evaluation.runs.run_report import run_report
from xmodal.report.report import Report
from xmodal.training.opening import require_whole_parameters
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


def test_an_existing_run_is_not_overwritten(run: Path, tiny_config: Path) -> None:
    with pytest.raises(UserError, match=r"already holds a run.*train\.resume=true"):
        Trainer(load_config(tiny_config))
    with pytest.raises(
        UserError, match=r"optim\.lr: 0\.003 -> 0\.1 changes the steps to come; .*train\.resume=changed"
    ):
        Trainer(load_config(tiny_config, ["train.resume=true", "optim.lr=0.1"]))


def test_a_folder_of_something_else_is_not_touched(tiny_config: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="not a run of xmodal"):
        Trainer(load_config(tiny_config))
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_a_loss_that_is_not_finite_stops_with_the_batch(tiny_config: Path, tmp_path: Path) -> None:
    done = train(tiny_config, "optim.lr=1e30", "optim.clip=0", "train.save_every=0", "optim.warmup=0")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    line = next(x for x in done.stderr.splitlines() if x.startswith("error:"))
    assert "not finite" in line
    assert any(name in line for name in ("play_", "stop_", "set_", "call_"))


def test_diverged_weights_never_replace_a_good_checkpoint(tiny_config: Path, tmp_path: Path) -> None:
    trainer = Trainer(load_config(tiny_config, [f"output={tmp_path / 'bad'}", "train.save_every=1", "optim.warmup=0"]))
    with torch.no_grad():
        next(trainer.aligner.parameters()).fill_(float("inf"))
    with pytest.raises(UserError, match="has diverged; there is no checkpoint yet; start again with a lower"):
        trainer._save_and_evaluate(last=True)
    assert not (tmp_path / "bad" / "checkpoints").exists()


def test_unreadable_audio_is_skipped_counted_and_listed(tiny_config: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (tiny_pairs / "train.jsonl").read_text().splitlines()]
    for row in rows:
        row["speech"] = str(tiny_pairs / row["speech"])
    (tmp_path / "empty.wav").write_bytes(b"")
    soundfile.write(tmp_path / "nan.wav", np.full(4000, np.nan, np.float32), 8000, subtype="FLOAT")
    rows[0]["speech"], rows[1]["speech"] = str(tmp_path / "empty.wav"), str(tmp_path / "nan.wav")
    manifest = tmp_path / "train.jsonl"
    manifest.write_text("".join(json.dumps(r) + "\n" for r in rows))
    few, many = f"output={tmp_path / 'few'}", f"output={tmp_path / 'many'}"
    Trainer(load_config(tiny_config, [few, f"data.train={manifest}", "data.max_bad=0.1"])).fit()
    first, *told = [json.loads(x) for x in (tmp_path / "few" / "skipped.jsonl").read_text().splitlines()]
    assert first["tally"]["used"] + sum(each["count"] for each in first["tally"]["left_out"]) == first["tally"]["seen"]
    listed = [row["id"] for row in told]
    assert listed == [rows[0]["id"], rows[1]["id"]]
    with pytest.raises(UserError, match=r"1 of 60 items.*empty\.wav.*data\.max_bad"):
        Trainer(load_config(tiny_config, [many, f"data.train={manifest}", "data.max_bad=0.001"]))


def test_a_batch_of_which_nothing_can_be_read_is_no_update(
    tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    common = ["train.steps=3", "evaluators={}", "train.trackers=[jsonl]", "train.log_every=1", "optim.lr=1e-2"]
    trainer = Trainer(load_config(tiny_config, common))
    step, weights = trainer.stepper.step, []

    def empty_at_first(batch):  # type: ignore[no-untyped-def]
        if batch.clock.step < 2:
            batch = batch_of_none(batch)
        parts = step(batch)
        weights.append(torch.cat([p.detach().flatten().clone() for p in trainer.aligner.parameters()]))
        return parts

    trainer.stepper.step = empty_at_first  # type: ignore[method-assign]
    trainer.fit()
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])
    assert "step 2: none of the batch's items can be read; no update is made" in "".join(capsys.readouterr())
    logged = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row.get("train/empty_batches") for row in logged if "train/lr" in row] == [1, 1, None]
    assert ["train/loss" in row for row in logged if "train/lr" in row] == [False, False, True]


def batch_of_none(batch: PairBatch) -> PairBatch:
    """As a batch is that lost every item."""
    return replace(
        batch,
        inputs={side: {name: x[:0] for name, x in rows.items()} for side, rows in batch.inputs.items()},
        ids=batch.ids[:0],
        item_ids={side: ids[:0] for side, ids in batch.item_ids.items()},
        labels=batch.labels[:0],
        names=(),
    )


def test_a_test_without_its_recordings_stops_the_run_before_it_trains(
    tiny_config: Path, tiny_pairs: Path, tmp_path: Path
) -> None:
    (tmp_path / "test.jsonl").write_text((tiny_pairs / "test.jsonl").read_text())  # its audio stays behind
    with pytest.raises(UserError, match=r"test\.jsonl: 12 of 12 items .*no such file.*from the manifest's folder"):
        Trainer(load_config(tiny_config, [f"evaluators.held.test={tmp_path / 'test.jsonl'}"]))
    assert not (tmp_path / "run").exists()


def test_a_batch_larger_than_the_data_is_refused(tiny_config: Path) -> None:
    with pytest.raises(UserError, match=r"train\.batch_size: 100 pairs, but the data has 60"):
        Trainer(load_config(tiny_config, ["train.batch_size=100"]))


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


@pytest.mark.parametrize("kind", [DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM])
def test_sharded_parameters_are_refused(kind: DistributedType) -> None:
    with pytest.raises(UserError, match=f"found distributed type {kind.value}, expected one process or DDP"):
        require_whole_parameters(kind)
    require_whole_parameters(DistributedType.MULTI_CPU)


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


def test_a_run_does_not_go_on_with_other_data(tiny_config: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    data = tmp_path / "train.jsonl"
    rows = (tiny_pairs / "train.jsonl").read_text().replace('"speech": "', f'"speech": "{tiny_pairs}/').splitlines()
    data.write_text("\n".join(rows))
    Trainer(load_config(tiny_config, [f"data.train={data}"])).fit()
    (tmp_path / "run" / "report" / "report.json").unlink()
    one, two = json.loads(rows[0]), json.loads(rows[-1])
    one["label"], two["label"] = two["label"], one["label"]
    swapped = [json.dumps(one), *rows[1:-1], json.dumps(two)]
    for changed in (rows[:-1], swapped):
        data.write_text("\n".join(changed))
        with pytest.raises(UserError, match=r"has changed since"):
            Trainer(load_config(tiny_config, [f"data.train={data}", "train.resume=true"]))
    with pytest.raises(UserError, match=r"train\.jsonl has changed since .*run began with it; put the data back"):
        Trainer(load_config(tiny_config, [f"data.train={data}", "train.resume=true"]))


def test_another_programs_folder_is_left_alone(tiny_config: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "towers").mkdir(parents=True)
    (theirs / "config.yaml").write_text("my: config\n")
    (theirs / "towers" / "data.txt").write_text("precious")
    with pytest.raises(UserError, match="exists and is not a run of xmodal"):
        Trainer(load_config(tiny_config, [f"output={theirs}"]))
    assert (theirs / "config.yaml").read_text() == "my: config\n"
    assert (theirs / "towers" / "data.txt").read_text() == "precious"


def test_a_mistake_under_torchrun_is_one_line(tiny_config: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run([*launch, str(TRAIN), str(tiny_config)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == [
        f"error: output: {tmp_path / 'run'} exists and is not a run of xmodal; choose another folder (output=...)"
    ]
    assert "Connection" not in done.stderr
    assert "trainer.py" not in done.stderr


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
