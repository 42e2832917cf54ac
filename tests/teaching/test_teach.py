"""Phrases in, a run that understands them out: with tiny towers, whole, killed and gone on, and refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from xmodal.commands.speech.listen import main as listen
from xmodal.commands.training.teach import main as teach
from xmodal.errors import UserError
from xmodal.files import read_json_lines
from xmodal.report.report import read_report
from xmodal.synthesis.manner import HELD_OUT_VOICES, TRAINING_VOICES
from xmodal.teaching.request import Typed, prepare

pytest.importorskip("espeakng_loader")
ROOT = Path(__file__).parents[2]

PHRASES = """
slots:
  what: [lights, music, alarm]
intents:
  start: [turn on the $what, $what on please, set the $what now, (play|call) the $what]
  stop: [stop it, stop it now, turn it off, off please]
"""
SHORT = ["--minutes", "0.5", "train.steps=6", "train.batch_size=16", "train.save_every=2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A folder with phrases.yaml and a config of tiny towers."""
    bert = request.getfixturevalue("tiny_bert")
    made = tmp_path_factory.mktemp("teaching")
    (made / "phrases.yaml").write_text(PHRASES)
    (made / "config.yaml").write_text(f"""
output: runs/unset
data: {{train: unset.jsonl}}
towers:
  speech: {{kind: speech_encoder, sample_rate: 8000, mels: 20, fft: 256, high: 3900, width: 16, layers: 1, heads: 2,
           feed_forward: 32, strides: [2, 2]}}
  text: {{kind: store, path: unset, tower: {{kind: transformers, name: {bert}}}}}
train: {{threads: 1}}
""")
    return made


def arguments(folder: Path, run: Path, *more: str) -> list[str]:
    phrases, config = str(folder / "phrases.yaml"), str(folder / "config.yaml")
    return [phrases, "--output", str(run), "--config", config, *SHORT, *more]


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    teach(arguments(folder, folder / "run"))
    return folder / "run"


def rows_of(path: Path) -> list[dict[str, object]]:
    return [row for _, row in read_json_lines(path)]


def test_what_is_held_out_is_nowhere_in_training(run: Path) -> None:
    parts = {name: rows_of(run / "data" / f"{name}.jsonl") for name in ("train", "new_phrases", "known_phrases", "dev")}
    trained, new = parts["train"], parts["new_phrases"]
    assert {row["voice"] for row in trained} <= set(TRAINING_VOICES)
    assert {row["voice"] for row in new} == set(HELD_OUT_VOICES)
    assert {row["voice"] for row in parts["known_phrases"]} <= set(HELD_OUT_VOICES)
    assert not {row["phrase"] for row in trained} & {row["phrase"] for row in new}
    assert {row["text"] for row in parts["known_phrases"]} <= {row["text"] for row in trained}
    assert {row["label"] for row in parts["dev"]} == {"start", "stop", None}
    files = [(run / "data" / str(row["speech"])).read_bytes() for part in parts.values() for row in part]
    assert len(set(files)) == len(files)  # nothing that is heard in training is heard in a test


def test_the_report_says_what_was_held_out_and_how_sure_each_number_is(run: Path) -> None:
    report = read_report(run / "report")
    names = {record.name for record in report.records}
    assert {"new_phrases/accuracy_intent_mean", "known_phrases/accuracy_what_mean", "known_phrases/oracle_what_mean",
            "none_of_these/auroc_mean", "none_of_these/accepted_none_mean"} <= names  # fmt: skip
    assert all(
        record.low is not None for record in report.records if record.name == "known_phrases/accuracy_intent_mean"
    )
    notes = "\n".join(report.notes)
    assert "held out: 2 of 8 phrases, of 2 intents" in notes
    assert "0 recordings of yours, 0 of other human speech; 6 steps" in notes
    assert "every number here is of TTS" in notes
    threshold = json.loads((run / "threshold.json").read_text())["threshold"]
    [record] = [record for record in report.records if record.name == "none_of_these/accuracy_open_mean"]
    assert record.context["threshold"] == threshold


def test_the_run_listens_with_its_own_phrases_and_threshold(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [first, *_] = rows_of(run / "data" / "known_phrases.jsonl")
    wave = run / "data" / str(first["speech"])
    listen([str(run), str(wave), "--json"])
    out = capsys.readouterr().out
    [heard] = [json.loads(line) for line in out.splitlines()]
    threshold = json.loads((run / "threshold.json").read_text())["threshold"]
    assert heard["nearest"] in ("start", "stop")
    assert (heard["intent"] is None) == (heard["score"] < threshold - 5e-5)
    listen([str(run), str(wave), "--json"])
    assert capsys.readouterr().out == out


def test_called_again_it_is_done_and_other_phrases_are_refused(
    run: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = (run / "model.safetensors").stat().st_mtime_ns
    report = (run / "report" / "report.json").read_bytes()
    teach(arguments(folder, run))
    assert "already trained for 6 steps" in capsys.readouterr().out
    assert (run / "model.safetensors").stat().st_mtime_ns == weights
    assert (run / "report" / "report.json").read_bytes() == report
    other = tmp_path / "phrases.yaml"
    other.write_text(PHRASES.replace("stop it now", "no more of it"))
    with pytest.raises(UserError, match="was taught from other phrases; choose another folder with --output"):
        teach([str(other), *arguments(folder, run)[1:]])


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["output=x"], "command line: output: is set by xmodal teach; say where the run goes with --output"),
        (["data.train=x"], "command line: data.train: is set by xmodal teach; it is what teaching makes"),
        (["train.btach_size=6"], "command line: train.btach_size: unknown key; did you mean train.batch_size?"),
        (["--minutes", "0"], "--minutes: found 0, expected minutes, half of one at least"),
        (["--held-out", "1"], "--held-out: found 1, expected a share from 0 to 0.8"),
        (["--human", "nowhere.jsonl"], "--human: nowhere.jsonl: no such file, expected a manifest of speech and text"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(more: list[str], line: str, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        teach(arguments(folder, tmp_path / "run", *more))
    assert str(error.value) == line
    assert not (tmp_path / "run").exists()


def test_a_folder_of_something_else_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="exists, and was not made by xmodal teach"):
        teach(arguments(folder, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_own_recordings_are_trained_on_and_tested(run: Path, folder: Path, tmp_path: Path) -> None:
    """Recordings stand in for a person's: they come from the other run's tests, so no one is trained on there."""
    rows = []
    for number, row in enumerate(rows_of(run / "data" / "known_phrases.jsonl")[:6]):
        speech = str((run / "data" / str(row["speech"])).resolve())
        part = "train" if number % 2 else "test"
        rows.append({"id": f"r{number}", "speech": speech, "text": row["text"], "label": row["label"], "split": part,
                     "what": row["what"], "speaker": f"s{number}"})  # fmt: skip
    mine = tmp_path / "mine.jsonl"
    mine.write_text("".join(json.dumps(row) + "\n" for row in rows))
    teach(arguments(folder, tmp_path / "run", "--recordings", str(mine), "--held-out", "0"))
    report = read_report(tmp_path / "run" / "report")
    [record] = [record for record in report.records if record.name == "recordings/accuracy_intent_mean"]
    assert record.n == 3
    notes = "\n".join(report.notes)
    assert "3 recordings of yours" in notes
    assert "no phrase is held out" in notes
    assert "every number here is of TTS" not in notes
    assert not (tmp_path / "run" / "threshold.json").exists()


@pytest.mark.slow
def test_killed_while_it_trains_it_ends_where_it_would_have(run: Path, folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "run"
    command = [sys.executable, "-c", "from xmodal.commands.training.teach import main; import sys; main(sys.argv[1:])"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([*command, *arguments(folder, again)], env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not list((again / "checkpoints").glob("step-*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    teach(arguments(folder, again))
    one, other = load_file(run / "model.safetensors"), load_file(again / "model.safetensors")
    assert one.keys() == other.keys()
    assert all(bool((one[name] == other[name]).all()) for name in one)


def test_stores_of_towers_and_of_teachers_are_made_of_what_is_taught(folder: Path, tmp_path: Path) -> None:
    frozen = "{kind: store, path: unset, tower: {kind: run, path: runs/large, side: %s}}"
    taught = [f"teachers.{side}={frozen % side}" for side in ("speech", "text")]
    more = ("train.steps=6", "objective={kind: distillation}", *taught)
    config = prepare(Typed(folder / "phrases.yaml", tmp_path / "run", folder / "config.yaml", overrides=more)).config
    paths = {key: spec.model_dump()["path"] for key, _, spec in config.all_towers() if spec.is_stored}
    assert paths == {
        "towers.text": tmp_path / "run" / "data" / "text_store",
        "teachers.speech": tmp_path / "run" / "data" / "speech_teacher_store",
        "teachers.text": tmp_path / "run" / "data" / "text_teacher_store",
    }
