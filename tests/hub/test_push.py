"""A run goes to a hub and comes back the same; what the hub has is not sent again."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from hub_server import GONE, HubServer, use_endpoint
from huggingface_hub import ModelCard, parse_eval_result_entries
from huggingface_hub.repocard_data import model_index_to_eval_results

import xmodal
from xmodal.commands.cli import main
from xmodal.errors import run_script
from xmodal.hub.card import is_own_card
from xmodal.report.report import read_report

SAYS = {"license": "apache-2.0", "language": ["en"]}
TEXTS = ["play the music now", "stop the lights please"]


def test_a_run_comes_back_the_same_from_the_net_and_from_the_cache(
    hub: HubServer, finished: Path, tiny_pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = xmodal.load(finished).push_to_hub("jo/spoken", **SAYS, private=True)
    assert hub.repositories["jo/spoken"].private
    assert pushed.commit == hub.repositories["jo/spoken"].names["main"]
    own = xmodal.load(finished)
    clips = sorted(tiny_pairs.glob("*_5.wav"))
    there = xmodal.load("hf-hub:jo/spoken")
    use_endpoint(monkeypatch, GONE)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for encoder in (there, xmodal.load("hf-hub:jo/spoken"), xmodal.load("hf-hub:jo/spoken", revision=pushed.commit)):
        assert torch.equal(encoder.encode("text", TEXTS), own.encode("text", TEXTS))
        assert torch.equal(encoder.encode("speech", clips), own.encode("speech", clips))
        assert encoder.name.startswith("hf-hub:jo/spoken")
        assert encoder.provenance["revision"] == pushed.commit
        assert encoder.trained_labels == own.trained_labels


def test_what_is_sent(hub: HubServer, finished: Path) -> None:
    xmodal.push(finished, "jo/spoken", **SAYS)
    files = hub.head("jo/spoken")
    assert {path for path in files if not path.startswith("towers/")} == {
        ".gitattributes", "README.md", "config.yaml", "labels.json", "model.safetensors", "training.json",
        "versions.json",
    }  # fmt: skip
    assert {path for path in files if path.startswith("towers/")} == {
        path.relative_to(finished).as_posix() for path in (finished / "towers").rglob("*") if path.is_file()
    }
    everything = b"".join(content for path, content in files.items() if not path.endswith(".safetensors")).decode()
    assert str(finished) not in everything
    assert str(finished.parent.parent) not in everything  # nor any other folder of this machine
    assert yaml.safe_load(files["config.yaml"])["data"]["train"] == "train.jsonl"
    assert json.loads(files["training.json"])["finished"] is True


def test_nothing_private_is_sent(hub: HubServer, finished: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["train"] |= {"trackers": ["comet_ml"], "tracker_options": {"comet_ml": {"api_key": "SECRET"}}}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    small = {"format": 2, "towers": {"speech": {"kind": "transformers", "name": "/home/jo/private/bert"}}}
    (run / "towers" / "speech").mkdir(exist_ok=True)
    (run / "towers" / "speech" / "config.yaml").write_text(yaml.safe_dump(small))
    report = read_report(run / "report")
    report.notes.append("held: 1 item was left out (the first: /home/jo/private/x.wav: no such file).")
    report.write(run / "report")
    pushed = xmodal.push(run, "jo/spoken", **SAYS, benchmarks={"held/accuracy_mean": "jo/bench"})
    files = hub.head("jo/spoken")
    everything = b"".join(content for path, content in files.items() if not path.endswith(".safetensors")).decode()
    assert "SECRET" not in everything
    assert "/home/jo" not in everything
    assert yaml.safe_load(files["config.yaml"])["train"]["trackers"] == ["comet_ml"]
    assert yaml.safe_load(files["towers/speech/config.yaml"])["towers"]["speech"]["name"] == "bert"
    for path in ("README.md", ".eval_results/jo-bench-default.yaml"):
        assert "(the first: x.wav: no such file)" in " ".join(files[path].decode().split())
    assert any("paths of this machine in what is sent are cut to their last part" in note for note in pushed.notes)


def test_a_run_without_a_report_is_pushed(hub: HubServer, finished: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(run / "report")
    (run / "report").mkdir()
    pushed = xmodal.push(run, "jo/spoken", **SAYS, dry_run=True)
    assert "the run has no report: the card has no numbers" in pushed.notes


def test_old_numbers_do_not_stay_beside_new_weights(hub: HubServer, finished: Path) -> None:
    xmodal.push(finished, "jo/spoken", **SAYS, benchmarks={"held/accuracy_mean": "jo/bench"})
    own, other = ".eval_results/jo-bench-default.yaml", ".eval_results/of-another.yaml"
    hub.repositories["jo/spoken"].commit(hub.head("jo/spoken") | {other: b"- value: 1\n"})
    again = xmodal.push(finished, "jo/spoken", **SAYS, update=True)
    assert again.removed == [own]
    assert [path for path in hub.head("jo/spoken") if path.startswith(".eval_results/")] == [other]
    told = f"{other} on the hub is not xmodal's, and stays: leaderboards show its number for these weights"
    assert told in again.notes


def test_no_weights_are_uploaded_twice(hub: HubServer, finished: Path, tmp_path: Path) -> None:
    first = xmodal.push(finished, "jo/spoken", **SAYS)
    uploads = list(hub.uploads)
    assert len(uploads) == len(set(uploads)) == 2  # the run's own weights, and the locked tower's
    again = xmodal.push(finished, "jo/spoken", **SAYS, update=True)
    assert (again.sent, again.commit) == ([], None)
    assert {file.path for file in again.unchanged} == {file.path for file in first.sent}
    other = shutil.copytree(finished, tmp_path / "run")
    (other / "labels.json").write_text('["call"]')
    (other / "towers" / "text" / "extra.json").write_text("{}")
    changed = xmodal.push(other, "jo/spoken", **SAYS, update=True)
    assert {file.path for file in changed.sent} == {"labels.json", "towers/text/extra.json"}
    removed = xmodal.push(finished, "jo/spoken", **SAYS, update=True)
    assert removed.removed == ["towers/text/extra.json"]
    assert "towers/text/extra.json" not in hub.head("jo/spoken")
    xmodal.push(finished, "jo/copy", **SAYS)  # the hub has these weights, in another repository
    assert hub.uploads == uploads


def test_the_card_holds_the_reports_numbers(hub: HubServer, finished: Path) -> None:
    xmodal.push(
        finished, "jo/spoken", **SAYS, datasets=["jo/tones"], base_models={"text": "jo/tiny-bert"},
        benchmarks={"held/accuracy_mean": "jo/bench:intents"},
    )  # fmt: skip
    files = hub.head("jo/spoken")
    text = files["README.md"].decode()
    card, report = ModelCard(text), read_report(finished / "report")
    assert card.data.to_dict() | {"model-index": None} == {
        "language": ["en"], "license": "apache-2.0", "library_name": "xmodal", "pipeline_tag": "feature-extraction",
        "tags": ["xmodal", "cross-modal", "zero-shot", "cwcl", "audio", "text"], "base_model": ["jo/tiny-bert"],
        "datasets": ["jo/tones"], "model-index": None,
    }  # fmt: skip
    _, listed = model_index_to_eval_results(card.data.to_dict()["model-index"])
    results = {result.metric_type: result for result in listed}
    records = [record for record in report.records if record.value is not None]
    assert results.keys() == {record.metric for record in records}
    for record in records:
        result = results[record.metric]
        assert result.dataset_name == "held"
        assert result.metric_value == pytest.approx(record.value, abs=1e-6)
        assert result.metric_args["n"] == record.n
        assert result.metric_args["low"] == pytest.approx(record.low, abs=1e-6)
        assert f"| {record.metric} | {record.value:,.3f} |" in text
    assert report.notes
    for note in report.notes:  # among them that the speech is TTS
        assert f"> - {note}" in text
    assert any("TTS" in note for note in report.notes)
    entry = parse_eval_result_entries(yaml.safe_load(files[".eval_results/jo-bench-intents.yaml"]))[0]
    assert (entry.dataset_id, entry.task_id) == ("jo/bench", "intents")
    assert entry.value == pytest.approx(report.value("accuracy_mean"), abs=1e-6)
    assert "TTS" in entry.notes


def test_the_cards_snippet_runs(
    hub: HubServer, finished: Path, tiny_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    xmodal.push(finished, "jo/spoken", **SAYS)
    code = hub.head("jo/spoken")["README.md"].decode().split("```python\n")[1].split("```")[0]
    shutil.copy(tiny_pairs / "play_music_0.wav", tmp_path / "clip.wav")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert "tensor([[" in capsys.readouterr().out


def test_a_card_that_somebody_edited_stays(hub: HubServer, finished: Path) -> None:
    xmodal.push(finished, "jo/spoken", **SAYS)
    files = hub.head("jo/spoken")
    assert is_own_card(files["README.md"].decode())
    edited = files["README.md"].replace(b"# spoken", b"# My own words")
    hub.repositories["jo/spoken"].commit(files | {"README.md": edited, "LICENSE": b"mine"})
    kept = xmodal.push(finished, "jo/spoken", license="mit", update=True)
    assert any("README.md on the hub was edited, and stays" in note for note in kept.notes)
    assert hub.head("jo/spoken")["README.md"] == edited
    xmodal.push(finished, "jo/spoken", license="mit", update=True, replace_card=True)
    assert b"license: mit" in hub.head("jo/spoken")["README.md"]
    assert hub.head("jo/spoken")["LICENSE"] == b"mine"
    xmodal.push(finished, "jo/spoken", license="cc0-1.0", update=True)  # xmodal's own card is replaced
    assert b"license: cc0-1.0" in hub.head("jo/spoken")["README.md"]


def test_a_dry_run_prints_what_would_be_sent(
    hub: HubServer, finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["push", str(finished), "jo/spoken", "--license", "apache-2.0", "--dry-run"]
    assert run_script(main, command) == 0
    assert not hub.repositories
    assert not [asked for asked in hub.asked if asked[0] != "GET"]
    printed = capsys.readouterr().out
    size = (finished / "model.safetensors").stat().st_size
    assert f"would send  {size / 1e6:>6.2f} MB  model.safetensors" in printed
    assert "library_name: xmodal" in printed
    assert "note: no language is named: --language en" in printed
    assert "note: the hub's name of the text tower's model is not known: --base-model text=OWNER/NAME" in printed
    xmodal.push(finished, "jo/spoken", license="apache-2.0")
    assert run_script(main, [*command, "--update"]) == 0
    assert f"is there {size / 1e6:>6.2f} MB  model.safetensors" in capsys.readouterr().out
    use_endpoint(monkeypatch, GONE)
    assert run_script(main, command) == 0
    assert "note: what the hub has was not compared: jo/spoken: the hub cannot be reached" in capsys.readouterr().out
