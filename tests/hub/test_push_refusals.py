"""What keeps a run from the hub: one line each, with a way out, and nothing half-written."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from hub_server import GONE, HubServer, use_endpoint

import xmodal
from xmodal.commands.cli import main
from xmodal.errors import UserError, run_script
from xmodal.hub.contents import without_paths
from xmodal.hub.names import hub_name

RUN = {"config.yaml": b"towers: {}", "model.safetensors": b"weights"}


def refusal(finished: Path, name: str = "jo/spoken", **said: Any) -> str:
    """The one line by which a push is refused."""
    with pytest.raises(UserError) as refused:
        xmodal.push(finished, name, **{"license": "apache-2.0", **said})
    line = str(refused.value)
    assert "\n" not in line
    return line


def test_a_card_needs_a_licence_that_the_hub_knows(hub: HubServer, finished: Path) -> None:
    assert "license: a model card needs one" in refusal(finished, license=None)
    assert "did you mean apache-2.0?" in refusal(finished, license="apache-2")
    assert "the hub knows no such licence; expected" in refusal(finished, license="do what you like")
    assert not hub.asked


def test_a_token_is_needed_before_anything_is_sent(
    hub: HubServer, finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert run_script(main, ["push", str(finished), "jo/spoken", "--license", "mit"]) == 2
    line = "error: jo/spoken: no token for the hub; log in with `hf auth login`, or set HF_TOKEN\n"
    assert capsys.readouterr().err == line
    assert not hub.asked
    monkeypatch.setenv("HF_TOKEN", "forged")
    assert "the hub does not know the token (401); log in" in refusal(finished)


def test_no_network(hub: HubServer, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set, and to write it the hub is needed; unset it" in refusal(finished)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    use_endpoint(monkeypatch, GONE)
    assert re.search(r"the hub cannot be reached to write it \(.+\); check the connection", refusal(finished))


def test_a_name_that_is_taken(hub: HubServer, finished: Path) -> None:
    before = hub.add("jo/spoken", {"pytorch_model.bin": b"old", "README.md": b"of another"})
    taken = "the name is taken by what is no run of xmodal (README.md, pytorch_model.bin); choose another name"
    assert taken in refusal(finished)
    assert taken in refusal(finished, update=True)
    assert len(before.commits) == 1
    hub.add("jo/run", RUN)
    assert "the name is taken by a run; replace it with --update" in refusal(finished, "jo/run")
    assert not hub.uploads


def test_a_name_of_somebody_else(hub: HubServer, finished: Path) -> None:
    assert "the hub forbids to write it (403: You may not create models of eve)" in refusal(finished, "eve/spoken")
    hub.add("eve/private", RUN, private=True)
    assert "403" in refusal(finished, "eve/private")  # as if it were not there
    hub.add("eve/run", RUN)
    assert "the hub forbids to write it (403: You do not have" in refusal(finished, "eve/run", update=True)
    assert not hub.uploads
    assert len(hub.repositories["eve/run"].commits) == 1


@pytest.mark.parametrize("part", ["/lfs/", "/commit/"])
def test_what_breaks_off_leaves_the_repository_as_it_was(hub: HubServer, finished: Path, part: str) -> None:
    hub.broken = {part}
    assert "the hub forbids to write it (403" in refusal(finished)
    assert set(hub.head("jo/spoken")) == {".gitattributes"}  # as the hub makes it
    hub.broken = set()
    xmodal.push(finished, "jo/spoken", license="mit")  # the same again: no --update is needed
    assert "model.safetensors" in hub.head("jo/spoken")


def test_somebody_else_pushes_meanwhile(hub: HubServer, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    xmodal.push(finished, "jo/spoken", license="mit")
    repository, first = hub.repositories["jo/spoken"], hub.head("jo/spoken")
    hub.before_commit = lambda: repository.commit(first | {"mine.txt": b"new"})
    assert "was changed by somebody else meanwhile; look at it, and push again" in refusal(
        finished, license="cc0-1.0", update=True
    )
    assert hub.head("jo/spoken") == first | {"mine.txt": b"new"}


def test_a_run_that_cannot_be_sent(hub: HubServer, finished: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    (run / "training.json").unlink()
    assert f"{run}: training has not ended; finish it with train.resume=true" in refusal(run)
    shutil.copy(finished / "training.json", run)
    (run / "towers" / "text" / "weights.bin").write_bytes(b"\x80\x02}q\x00.")
    told = (
        f"{run}: holds pickled files (towers/text/weights.bin), which are never opened; take them out of the run folder"
    )
    assert refusal(run) == told
    (run / "towers" / "text" / "weights.bin").write_bytes(b"\x06\x00\x00\x00plain")
    assert xmodal.push(run, "jo/plain", license="mit", dry_run=True).sent
    hub.asked.clear()
    assert "nowhere: not a run folder (no config.yaml)" in refusal(tmp_path / "nowhere")
    assert "has no such side; its sides: speech, text" in refusal(finished, base_models={"image": "jo/vit"})
    unknown = refusal(finished, benchmarks={"held/acc": "jo/bench"})
    assert "benchmark 'held/acc': the report has no such number; it has held/accuracy_prompt, " in unknown
    twice = refusal(finished, benchmarks={"held/accuracy_prompt": "jo/bench", "held/accuracy_mean": "jo/bench:default"})
    assert "benchmark 'held/accuracy_mean': jo/bench:default is given twice, and one file of the hub holds" in twice
    assert "language 'English': expected an ISO 639 code" in refusal(finished, language=["English"])
    assert not hub.asked


def test_what_links_point_at_is_not_sent(hub: HubServer, finished: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    link = run / "towers" / "link.json"
    link.symlink_to(secret)
    assert f"{link}: a link that leads out of the run folder ({secret}), which is not sent; put the" in refusal(run)
    link.unlink()
    link.symlink_to("gone.json")
    assert f"{link}: a link to nothing ({run / 'towers' / 'gone.json'})" in refusal(run)
    link.unlink()
    (run / "labels.json").unlink()
    (run / "labels.json").symlink_to(secret)
    assert "labels.json: a link that leads out of the run folder" in refusal(run)
    assert not hub.asked
    (run / "labels.json").unlink()
    link.symlink_to("../versions.json")  # a file of the run itself
    (run / "towers" / "same.json").hardlink_to(secret)  # as weights that two runs share
    sent = {file.path for file in xmodal.push(run, "jo/spoken", license="mit").sent}
    assert {"towers/link.json", "towers/same.json"} <= sent
    assert xmodal.load("hf-hub:jo/spoken").push_to_hub("jo/again", license="mit", dry_run=True).sent  # cached as links


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("training.json", "{", "cannot be read (Expecting property name"),
        ("training.json", "[]", "holds a list, expected a dict; restore it, or train again"),
        ("labels.json", "[[[", "cannot be read (Expecting value"),
        ("labels.json", "[" * 5000 + "]" * 5000, "cannot be read (maximum recursion depth exceeded"),
        ("versions.json", "5", "holds a int, expected a dict"),
        ("sets.jsonl", "{", "line 1 is not JSON"),
    ],
)
def test_a_broken_file_is_not_sent(
    hub: HubServer, finished: Path, tmp_path: Path, name: str, content: str, told: str
) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    (run / name).write_text(content)
    assert refusal(run).startswith(f"{run / name}: {told}")
    assert not hub.asked


def test_an_encoder_without_a_run_is_not_pushed() -> None:
    from xmodal.encoding.encoder import Encoder

    with pytest.raises(UserError, match="no run folder, and only runs can be pushed"):
        Encoder({}, {}).push_to_hub("jo/spoken", license="mit")


@pytest.mark.parametrize("name", ["spoken", "jo/", "jo/a/b", "jo/sp oken", "jo/-a", "jo/a..b", "../a", "jo/a.git"])
def test_a_name_is_owner_and_name(name: str) -> None:
    with pytest.raises(UserError, match=r"expected OWNER/NAME on the hub"):
        hub_name(f"hf-hub:{name}")


def test_names_and_revisions() -> None:
    assert hub_name("hf-hub:jo/spoken_2.1-b") == ("jo/spoken_2.1-b", None)
    assert hub_name("hf-hub:jo/spoken@v1.0") == ("jo/spoken", "v1.0") == hub_name("hf-hub:jo/spoken", "v1.0")
    for model, revision in [("hf-hub:jo/a@", None), ("hf-hub:jo/a@../b", None), ("hf-hub:jo/a", "")]:
        with pytest.raises(UserError, match="expected a branch, a tag or a commit"):
            hub_name(model, revision)
    with pytest.raises(UserError, match="is given beside the one in the name"):
        hub_name("hf-hub:jo/a@v1", "v2")


def test_paths_of_this_machine_are_cut() -> None:
    tree = {"a": "/home/jo/x.jsonl", "b": [{"c": "~/y"}, "data/z", "/"], "n": 1, "text": "/ or\nnot"}
    assert without_paths(tree) == (
        {"a": "x.jsonl", "b": [{"c": "y"}, "data/z", ""], "n": 1, "text": "/ or\nnot"},
        3,
    )


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("row 3: /home/jo/x.wav: broken", "row 3: x.wav: broken"),
        ("(the first: /home/jo/secret/x.wav: no such file)", "(the first: x.wav: no such file)"),
        ("/home/jo/My Music (new)/x.wav: 2 rows of data/y", "x.wav: 2 rows of data/y"),
        ("'/home/jo/my data/x y.wav', ~/z", "'x y.wav', z"),
        ("tar:/home/jo/a.tar and file:///home/jo/b", "tar:a.tar and b"),
        ("see /home/jo/a.wav and/or b", "see a.wav and/or b"),
    ],
)
def test_paths_inside_texts_are_cut(text: str, cut: str) -> None:
    assert without_paths(text)[0] == cut
    assert without_paths(cut) == (cut, 0)


def test_what_is_no_path_stays() -> None:
    for text in ("https://a.b/c/d", "hf-hub:jo/a, data/x", "n/a and/or 1/2/3", "m /s", "package:a/b", "runs/../x"):
        assert without_paths(text) == (text, 0)
