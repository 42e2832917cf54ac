"""A run is read from a hub or from its cache; what is no run, is not open to everybody, or is not safe is refused."""

import shutil
from pathlib import Path

import pytest
import torch
from hub_server import GONE, HubServer, use_endpoint

import xmodal
from xmodal.app.models import load_models
from xmodal.commands.cli import main
from xmodal.errors import UserError, run_script
from xmodal.evaluation.classification.zero_shot import ZeroShot
from xmodal.evaluation.probes.probe_report import ProbePlan, probe_report
from xmodal.evaluation.robustness.robustness_report import robustness_report

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CODE = "from os import system\n"


@pytest.fixture(scope="session")
def files(finished: Path) -> dict[str, bytes]:
    """A run's files as a hub has them."""
    wanted = [finished / name for name in ("config.yaml", "model.safetensors", "training.json", "labels.json")]
    wanted += [path for path in (finished / "towers").rglob("*") if path.is_file()]
    return {path.relative_to(finished).as_posix(): path.read_bytes() for path in wanted}


def refusal(model: str, **options: object) -> str:
    """The one line by which it is refused."""
    with pytest.raises(UserError) as refused:
        xmodal.load(model, **options)
    line = str(refused.value)
    assert "\n" not in line
    assert line.startswith(model)
    return line


def lay_out(cache: Path, files: dict[str, bytes], references: tuple[str, ...] = ("main",)) -> Path:
    """The hub's cache as it is on disk: blobs, links to them in snapshots, references to these."""
    folder = cache / "models--jo--spoken"
    for name in references:
        (folder / "refs").mkdir(parents=True, exist_ok=True)
        (folder / "refs" / name).write_text(COMMIT)
    for number, (path, content) in enumerate(files.items()):
        blob, link = folder / "blobs" / str(number), folder / "snapshots" / COMMIT / path
        for place in (blob, link):
            place.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link.symlink_to(blob)
    return folder / "snapshots" / COMMIT


def test_a_cache_on_disk_is_enough(
    hub: HubServer, finished: Path, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    use_endpoint(monkeypatch, GONE)
    lay_out(tmp_path / "cache", files, ("main", "v1"))
    expected = xmodal.load(finished).encode("text", ["play the music"])
    for revision in (None, "v1", COMMIT):
        encoder = xmodal.load("hf-hub:jo/spoken", revision=revision)
        assert torch.equal(encoder.encode("text", ["play the music"]), expected)
        assert encoder.provenance["revision"] == COMMIT
    assert "hf-hub:jo/spoken: the hub gave no answer (ConnectError); the copy in its cache is used" in caplog.text
    assert "the hub cannot be reached to read it" in refusal("hf-hub:jo/spoken", revision="v2")[:120]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    caplog.clear()
    xmodal.load("hf-hub:jo/spoken")
    assert not caplog.text
    assert "HF_HUB_OFFLINE is set, and to read it the hub is needed" in refusal("hf-hub:jo/other")


def test_half_a_cache_is_not_used(
    hub: HubServer, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_endpoint(monkeypatch, GONE)
    for lacking in ("model.safetensors", "towers/text/"):
        lay_out(tmp_path / "cache", {path: files[path] for path in files if not path.startswith(lacking)})
        assert "the hub cannot be reached" in refusal("hf-hub:jo/spoken")
        shutil.rmtree(tmp_path / "cache")


def test_the_cache_is_used_where_the_hub_refuses(
    hub: HubServer, files: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    hub.add("jo/spoken", files)
    xmodal.load("hf-hub:jo/spoken")
    hub.broken = {"/api/models/jo/spoken"}
    assert xmodal.load("hf-hub:jo/spoken").modalities == ("speech", "text")
    assert "hf-hub:jo/spoken: the hub refused it (403); the copy in its cache is used" in caplog.text


def test_revisions(hub: HubServer, files: dict[str, bytes]) -> None:
    repository = hub.add("jo/spoken", files)
    first = repository.names["v1"] = repository.names["main"]
    repository.commit(files | {"labels.json": b'["new"]'})
    assert xmodal.load("hf-hub:jo/spoken").trained_labels == {"new"}
    for encoder in (xmodal.load("hf-hub:jo/spoken@v1"), xmodal.load("hf-hub:jo/spoken", revision=first)):
        assert encoder.trained_labels == {"play", "stop", "set", "call"}
        assert encoder.provenance["revision"] == first
    assert "the hub has no such revision" in refusal("hf-hub:jo/spoken@v2")
    with pytest.raises(UserError, match="revision 'v1' is of a model on the hub, and runs/x is none; leave it out"):
        xmodal.load("runs/x", revision="v1")


def test_who_may_not_read_it(hub: HubServer, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("eve/private", files, private=True)
    hub.add("eve/gated", files, gated=True)
    unseen = "no such model on the hub, or one that you may not see; check the name, or log in"
    for token in ("token-of-jo", ""):
        monkeypatch.setenv("HF_TOKEN", token)
        assert unseen in refusal("hf-hub:eve/private")
        assert unseen in refusal("hf-hub:eve/nothing")
        assert "is gated; ask for access at https://huggingface.co/eve/gated, then log in" in refusal(
            "hf-hub:eve/gated"
        )
    monkeypatch.setenv("HF_TOKEN", "token-of-eve")
    assert xmodal.load("hf-hub:eve/private").modalities == xmodal.load("hf-hub:eve/gated").modalities
    monkeypatch.setenv("HF_TOKEN", "forged")
    assert "the hub does not know the token (401); log in" in refusal("hf-hub:eve/other")


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        (
            {"pytorch_model.bin": b"x"},
            "holds pickled files (pytorch_model.bin), which are never opened; take a revision w",
        ),
        ({"optimizer.pt": b"x"}, "holds pickled files (optimizer.pt)"),
        ({"towers/text/w.pkl": b"x"}, "holds pickled files (towers/text/w.pkl)"),
        ({"MODEL.PT": b"x"}, "holds pickled files (MODEL.PT)"),
        ({"Pytorch_Model.BIN": b"x"}, "holds pickled files (Pytorch_Model.BIN)"),
        ({"towers/text/MODELING.PY": CODE.encode()}, "comes with code of its own (towers/text/MODELING.PY)"),
        ({"towers/text/modeling.py": CODE.encode()}, "comes with code of its own (towers/text/modeling.py)"),
        ({"../../outside.json": b"{}"}, "holds '../../outside.json', which leads out of its folder"),
    ],
)
def test_what_is_not_safe_is_refused_before_it_is_fetched(
    hub: HubServer, files: dict[str, bytes], extra: dict[str, bytes], reason: str
) -> None:
    hub.add("eve/spoken", files | extra)
    assert reason in refusal("hf-hub:eve/spoken")
    assert not [path for _, path in hub.asked if "/resolve/" in path]


def test_a_pickle_under_the_name_of_a_ctranslate2_model(hub: HubServer, files: dict[str, bytes]) -> None:
    hub.add("eve/spoken", files | {"towers/speech/model.bin": b"PK\x03\x04archive"})
    assert "holds pickled files (towers/speech/model.bin)" in refusal("hf-hub:eve/spoken")
    hub.add("jo/spoken", files | {"towers/speech/model.bin": b"\x06\x00\x00\x00plain"})
    assert xmodal.load("hf-hub:jo/spoken").modalities == ("speech", "text")


def test_the_cache_is_looked_through_as_well(
    hub: HubServer, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_endpoint(monkeypatch, GONE)
    lay_out(tmp_path / "cache", files | {"towers/text/modeling.py": CODE.encode()})
    assert "where it is trusted: read it, then load with trust_remote_code=True" in refusal("hf-hub:jo/spoken")
    assert xmodal.load("hf-hub:jo/spoken", trust_remote_code=True).modalities == ("speech", "text")


def test_code_from_outside_is_named_and_not_imported(hub: HubServer, files: dict[str, bytes]) -> None:
    config = files["config.yaml"].replace(b"kind: speech_encoder", b"kind: evil_package.towers:Tower")
    hub.add("eve/spoken", files | {"config.yaml": config})
    with pytest.raises(UserError, match=r"its speech tower needs code from outside xmodal \(evil_package.towers:Tower"):
        xmodal.load("hf-hub:eve/spoken")


def test_models_of_other_libraries(hub: HubServer) -> None:
    hub.add("jo/clip", {"config.json": b"{}", "model.safetensors": b"x"})
    assert "no run of xmodal (config.yaml is missing); a model of another library is open_clip:hf-hub:jo/clip or " in (
        refusal("hf-hub:jo/clip")
    )


def test_commands_take_a_run_on_the_hub(
    hub: HubServer, files: dict[str, bytes], tiny_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    hub.add("jo/spoken", files)
    monkeypatch.chdir(tmp_path)
    shutil.copy(tiny_pairs / "play_music_5.wav", "clip.wav")
    (tmp_path / "texts.txt").write_text("play the music\nstop the lights\n")
    model = "hf-hub:jo/spoken@main"
    assert run_script(main, ["embed", model, "texts.txt", "--modality", "text", "--out", "t.parquet"]) == 0
    assert run_script(main, ["search", "t.parquet", model, "play the music"]) == 0
    assert "+1.000  play the music" in capsys.readouterr().out
    typed = ["--audio", "clip.wav", "--intent", "play", "--intent", "stop"]
    assert run_script(main, ["speech-intent", model, *typed]) == 0
    test = ["--test", str(tiny_pairs / "test.jsonl"), "--items", "speech"]
    assert run_script(main, ["retrieval", model, *test]) == 0
    assert len([*(tmp_path / "reports" / "hf-hub_jo_spoken_main").glob("retrieval-*/report.html")]) == 1
    assert not list((tmp_path / "cache").rglob("report.html"))  # the cache stays as it is


def test_the_page_takes_a_run_on_the_hub(hub: HubServer, files: dict[str, bytes]) -> None:
    hub.add("jo/spoken", files)
    model = "hf-hub:jo/spoken@main"
    [found] = load_models([model])
    assert [(task.side, task.prompts) for task in found.tasks] == [("speech", "speech_intent")]
    assert found.cautions == (f"How good it is, and on what it was measured, stands on its page on the hub ({model}).",)


def test_reports_of_a_run_on_the_hub_say_what_its_folder_says(
    hub: HubServer, files: dict[str, bytes], tiny_pairs: Path
) -> None:
    hub.add("jo/spoken", {path: content for path, content in files.items() if path != "training.json"})
    encoder, test = xmodal.load("hf-hub:jo/spoken"), tiny_pairs / "test.jsonl"
    asked = ZeroShot(ZeroShot.Spec(test=test, items="speech", prompts="plain"))
    probed = probe_report(encoder, ProbePlan(test, modality="speech", what=("diagnostics",)))
    for report in (probed, robustness_report({"spoken": encoder}, asked, "tones", ks=(1,), perturb=False)):
        assert any(note.startswith("training is not finished") for note in report.notes)
