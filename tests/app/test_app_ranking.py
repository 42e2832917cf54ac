"""What the page answers, without the page: the same as `xmodal speech-intent`, and one line for each mistake."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from colour_encoder import colour_encoder, paint
from tones import RATE, save_tone

from xmodal.app.cautions import cautions_of, gathered
from xmodal.app.markup import answer, head, hits, mistake
from xmodal.app.models import Model, titles
from xmodal.app.page import distinct_tasks
from xmodal.app.ranking import Ranking, phrases_of, rank
from xmodal.app.recordings import read_recording, spoken_part
from xmodal.app.shelf import Card, Shelf, open_shelf, searchers
from xmodal.app.tasks import Task, counterpart, require_some, tasks_of
from xmodal.config.evaluator_spec import EvaluatorSpec
from xmodal.errors import UserError
from xmodal.evaluation.classification.speech_intent import SpeechIntent
from xmodal.evaluation.classification.typed_intents import rank_intents
from xmodal.evaluation.classification.zero_shot import ZeroShot
from xmodal.evaluation.embeddings.export import embed_items, write_embeddings
from xmodal.evaluation.embeddings.found_items import find_items
from xmodal.prompts import load_templates
from xmodal.report import Report


def test_lines_are_phrases() -> None:
    assert phrases_of(" lights on \r\n\nplay music\nlights on\n") == ["lights on", "play music"]
    with pytest.raises(UserError, match=r"^Nothing to choose from: type some lines, one for each$"):
        phrases_of(" \n ")
    with pytest.raises(UserError, match=r"^501 lines, more than the 500"):
        phrases_of("\n".join(map(str, range(501))))


def test_a_picture_is_ranked_as_on_the_command_line(tmp_path: Path) -> None:
    encoder = colour_encoder()
    assert [(task.side, task.title, task.prompts) for task in tasks_of(encoder, {})] == [("image", "Picture", "photo")]
    [task] = tasks_of(encoder, {}, "image")
    picture = paint(tmp_path / "a.png", (0.9, 0.2, 0.1))
    found = rank(encoder, task, picture, ["blue", "red", "green"])
    expected = rank_intents(encoder, [picture], ["blue", "red", "green"], load_templates("image"), speech="image")
    assert list(found.scores) == expected[0]
    assert found.scores[0][0] == "red"
    assert found.lead == found.scores[0][1] - found.scores[1][1]
    assert rank(encoder, task, picture, ["red"]).lead is None
    with pytest.raises(UserError, match=r"^b\.png: no image, or of a kind"):
        rank(encoder, task, (tmp_path / "b.png").write_text("x") and tmp_path / "b.png", ["red"])


def test_which_sentences() -> None:
    encoder = colour_encoder()
    sights: dict[str, EvaluatorSpec] = {"seen": ZeroShot.Spec(test=Path("a.jsonl"), prompts="cifar")}
    assert tasks_of(encoder, sights)[0].templates == tuple(load_templates("cifar"))
    gone: dict[str, EvaluatorSpec] = {"seen": ZeroShot.Spec(test=Path("a.jsonl"), prompts="gone.yaml")}
    assert tasks_of(encoder, gone)[0].prompts == "photo"
    assert tasks_of(encoder, sights, "plain")[0].templates == ("{c}",)
    spoken: dict[str, EvaluatorSpec] = {"said": SpeechIntent.Spec(test=Path("a.jsonl"), speech="image")}
    assert tasks_of(encoder, spoken)[0].prompts == "speech_intent"
    with pytest.raises(UserError, match="no template set 'cifr'"):
        tasks_of(encoder, {}, "cifr")


def test_two_models_are_asked_the_same() -> None:
    speech, sound = (Task(side, "audio", "text", ("{c}",), "plain") for side in ("speech", "sound"))
    picture = Task("image", "image", "text", ("{c}",), "plain")
    assert counterpart(speech, [picture, sound, speech]) is speech
    assert counterpart(speech, [picture, sound]) is sound
    assert counterpart(speech, [picture]) is None
    encoder = colour_encoder()
    one, two = Model("a", encoder, (speech,)), Model("b", encoder, (sound, picture))
    assert distinct_tasks([one, two]) == [speech, picture]
    assert titles(["runs/a", "other/b"]) == ["a", "b"]
    assert titles(["runs/a", "other/a"]) == ["runs/a", "other/a"]
    with pytest.raises(UserError, match=r"^colours: encodes image \(image\), text \(text\); ranking needs"):
        require_some([], encoder, searches=False)


def test_silence_around_speech_is_left_out(tmp_path: Path) -> None:
    silence = 1e-4 * np.random.default_rng(0).standard_normal(2 * RATE)
    said, _ = soundfile.read(save_tone(tmp_path / "one.wav", "one", seconds=1.0))
    soundfile.write(tmp_path / "late.wav", np.concatenate([silence, said, silence]), RATE, subtype="FLOAT")
    late = read_recording(tmp_path / "late.wav", RATE, speech=True)
    assert len(late.samples) == pytest.approx(0.9 * RATE, abs=0.1 * RATE)  # half a second, and 0.2 s on either side
    assert late.notes == (f"{5 - len(late.samples) / RATE:.1f} s of silence around it are left out.",)
    assert len(read_recording(tmp_path / "late.wav", RATE, speech=False).samples) == 5 * RATE
    assert len(spoken_part(silence.astype(np.float32), RATE)) == 2 * RATE


def test_recordings_that_cannot_be_used(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "muted.wav", np.zeros(RATE), RATE)
    assert "is the microphone muted?" in read_recording(tmp_path / "muted.wav", RATE, speech=True).notes[0]
    soundfile.write(tmp_path / "faint.wav", np.full(RATE, 1e-3), RATE, subtype="FLOAT")
    assert "(-60 dB of full scale at most)" in read_recording(tmp_path / "faint.wav", RATE, speech=True).notes[0]
    soundfile.write(tmp_path / "long.flac", np.zeros(4000 * 121), 4000)
    with pytest.raises(UserError, match=r"^long\.flac: 121 s, more than the 120 s this page takes: cut it shorter$"):
        read_recording(tmp_path / "long.flac", RATE, speech=True)
    with pytest.raises(UserError, match=r"^gone\.wav: no such file; expected WAV, FLAC, OGG or MP3$"):
        read_recording(tmp_path / "gone.wav", RATE, speech=True)


def test_warnings_of_the_report(tmp_path: Path) -> None:
    notes = [
        "a: the speech is synthetic (TTS).",
        "b: these classes occur in training.",
        "b: the speech is synthetic (TTS).",
        "c: 2 of its classes occur in training (x, y).",
        "read me",
        "c: jiwer is missing.",
    ]
    told = [
        "Tests a, b: the speech is synthetic (TTS).",
        "Test b: these classes occur in training.",
        "Test c: 2 of its classes occur in training (x, y).",
    ]
    assert gathered(notes) == told
    assert cautions_of(tmp_path) == ["Nobody has measured how good this run is: there is no report in its folder."]
    Report(notes=notes).write(tmp_path / "report")
    assert cautions_of(tmp_path) == told


def test_what_others_wrote_is_escaped() -> None:
    evil = "<script>alert('x')</script>\"&"
    ranking = Ranking(((evil, 0.5), ("b", 0.1)), (evil,))
    pages = (
        answer(ranking, evil),
        mistake(evil, evil),
        head(evil, evil, [evil]),
        hits([Card(evil, 0.1, None, evil), Card("", 0.1, note=evil)], 2),
    )
    for page in pages:
        assert "<script" not in page
        assert "alert(&#x27;x&#x27;)" in page
        assert "&quot;&amp;" in page


def test_many_phrases_are_counted() -> None:
    page = answer(Ranking(tuple((f"phrase {n}", 1 - n / 100) for n in range(25))))
    assert page.count("<li>") == 20
    assert "and 5 more, farther away" in page


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    paint(tmp_path / "photos" / "red.png", "red")
    paint(tmp_path / "photos" / "blue.png", "blue")
    paint(tmp_path / "secret.png", "green")
    (tmp_path / "photos" / "green.png").symlink_to(tmp_path / "secret.png")
    found = find_items(tmp_path / "photos", "image", "image")
    write_embeddings(tmp_path / "photos.parquet", embed_items(colour_encoder(), "image", found))
    return open_shelf(tmp_path / "photos.parquet")


def test_nothing_outside_the_folder_is_shown(shelf: Shelf) -> None:
    cards = shelf.find(colour_encoder(), "text", "green", 3)
    assert cards[0].name == "green.png"
    assert [card.medium is None for card in cards] == [True, False, False]
    shelf.embedded.values[:] = ["../secret.png", "/etc/hostname", "red.png"]
    assert [card.medium is None for card in shelf.find(colour_encoder(), "text", "red", 3)].count(False) == 1


def test_players(shelf: Shelf) -> None:
    shelf.embedded.info["kind"] = "audio"
    tone = save_tone(shelf.root / "a & b?.wav", "one")
    (shelf.root / "secret.env").write_text("PASSWORD=x")
    (shelf.root / "h.html").write_text("<script>alert(1)</script>")
    (shelf.root.parent / "secret.wav").write_bytes(tone.read_bytes())
    gone, outside = "not shown: gone or broken", "not shown: outside the folder that was embedded"
    for files, notes in (
        (["a & b?.wav", "gone.wav", "../secret.wav"], [None, gone, outside]),
        (["a & b?.wav", "secret.env", "h.html"], [None, gone, gone]),
    ):
        shelf.embedded.values[:] = files
        found = {card.name: card for card in shelf.find(colour_encoder(), "text", "red", 3)}
        cards = [found[name] for name in ("blue.png", "green.png", "red.png")]
        assert [card.note for card in cards] == notes
        assert [card.medium and card.medium.type.partition("/")[0] for card in cards] == ["audio", None, None]
        assert hits(cards, 3).count("not shown: ") == 2


def test_shelves_that_cannot_be_used(shelf: Shelf, tmp_path: Path) -> None:
    own, other = (Model(name, colour_encoder(name, seed), ()) for name, seed in (("own", None), ("other", 3)))
    assert searchers(shelf, [other, own]) == [own]
    with pytest.raises(UserError, match=r"^search: the embeddings were made by colours \(image\), not by other"):
        searchers(shelf, [other])
    with pytest.raises(UserError, match=r"^an empty query; say what to look for$"):
        shelf.find(own.encoder, "text", " ", 3)
    with pytest.raises(UserError, match=r"^letter\.png: no image"):
        shelf.find(own.encoder, "image", (tmp_path / "letter.png").write_text("x") and tmp_path / "letter.png", 3)
    shelf.embedded.info["root"] = "/"
    write_embeddings(tmp_path / "disk.parquet", shelf.embedded)
    with pytest.raises(UserError, match=r"disk\.parquet: made over /, so a page could show what lies anywhere"):
        open_shelf(tmp_path / "disk.parquet")
