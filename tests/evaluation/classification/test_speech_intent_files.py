"""Spoken intents: what their files may hold, and what is wrong with others."""

import json
import tarfile
from pathlib import Path

import pandas as pd
import pytest
from colours import colour_encoder, save_image
from intent_table import ByTable, evaluate, spec, write

from xmodal.errors import UserError
from xmodal.evaluation.classification.speech_intent import SpeechIntent
from xmodal.evaluation.classification.typed_intents import rank_intents
from xmodal.files import write_json_lines


def test_recordings_may_be_bytes_or_lie_in_tars(tmp_path: Path) -> None:
    """The items are read as any test's are: here pictures of colours, whose transcripts name them."""
    rows = [("a", "red"), ("b", "blue"), ("c", "blue")]
    pictures = [save_image(tmp_path / f"{name}.png", colour) or tmp_path / f"{name}.png" for name, colour in rows]
    frame = pd.DataFrame({"id": ["a", "b", "c"], "label": ["red", "blue", "red"], "text": ["red one", "blue", "red"]})
    frame.assign(image=[file.read_bytes() for file in pictures]).to_parquet(tmp_path / "bytes.parquet")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for file in pictures:
            tar.add(file, file.name)
    with tarfile.open(tmp_path / "x.tar") as tar:
        inside = [f"x.tar@{member.offset_data}+{member.size}" for member in tar]
    frame.assign(image=inside).to_parquet(tmp_path / "tar.parquet")
    for test in ("bytes", "tar"):
        asked = SpeechIntent.Spec(test=tmp_path / f"{test}.parquet", speech="image", prompts="plain")
        evaluator = SpeechIntent(asked, {"image": "image", "text": "text"})
        evaluator.check()
        report = evaluator.evaluate(colour_encoder(), "t")
        assert report.value("accuracy_prompt") == pytest.approx(2 / 3)
        assert report.value("oracle_prompt") == 1


def test_prompts_say_the_readable_name(table: ByTable, tmp_path: Path) -> None:
    names = tmp_path / "names.json"
    names.write_text(json.dumps({"play_music": "some jazz", "set_alarm": "enough"}))
    (tmp_path / "mine.yaml").write_text('- "{c}"\n- "do {c}"\n')
    for name in ("some jazz", "enough", "stop", "weather"):
        table.vectors[f"do {name}"] = table.vectors[name]
    report = evaluate(table, tmp_path, names=names, prompts=str(tmp_path / "mine.yaml"))
    assert table.asked[:8] == [f"{p}{n}" for n in ("some jazz", "enough", "stop", "weather") for p in ("", "do ")]
    assert next(r for r in report.records if r.metric == "accuracy_prompt").context["templates"] == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected JSON with one readable name per label"),
        ("{", "expected JSON with one readable name per label"),
        ('["play music"]', "expected a JSON object of label to readable name"),
        ('{"play_music": 7}', "expected a JSON object of label to readable name"),
    ],
)
def test_a_wrong_names_file(table: ByTable, tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "names.json").write_text(content)
    with pytest.raises(UserError, match=rf"names\.json: {message}"):
        SpeechIntent(spec(tmp_path, names=tmp_path / "names.json"))


@pytest.mark.parametrize("sentence", ["play a tune", "Play a tune!", "  PLAY,  a tune? "])
def test_an_example_must_not_be_a_test_sentence(table: ByTable, tmp_path: Path, sentence: str) -> None:
    rows = [{"id": "1", "text": "some jazz", "label": "play_music"}, {"id": "2", "text": sentence, "label": "stop"}]
    write(tmp_path / "examples.jsonl", rows)
    with pytest.raises(UserError, match=r"examples\.jsonl: .*tune.* \(intent stop\) is also a test sentence"):
        SpeechIntent(spec(tmp_path))


def test_labels_may_have_another_column(table: ByTable, tmp_path: Path) -> None:
    """As STOP's domains beside its intents: in the test and in the examples."""
    before = evaluate(table, tmp_path).predictions
    for name in ("test.jsonl", "examples.jsonl"):
        rows = [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        write(tmp_path / name, [row | {"domain": row["label"], "label": "x"} for row in rows])
    pd.testing.assert_frame_equal(evaluate(table, tmp_path, label="domain").predictions, before)
    with pytest.raises(UserError, match=r"examples\.jsonl: one intent \(x\)"):
        evaluate(table, tmp_path)


def test_a_test_without_labels(table: ByTable, tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl", [{"id": "1", "text": "play", "speech": "s1.wav"}])
    with pytest.raises(UserError, match="missing column 'label'"):
        SpeechIntent(spec(tmp_path))


def test_unreadable_recordings_are_left_out_and_counted(table: ByTable, tmp_path: Path) -> None:
    del table.vectors["s2.wav"], table.vectors["s7.wav"]
    with pytest.raises(UserError, match=r"2 of 7 .* limit is 1.0%; first: s2 \(s2\.wav: unr.* raise the evaluator's"):
        evaluate(table, tmp_path)
    report = evaluate(table, tmp_path, max_bad=0.3)
    assert report.value("accuracy_prompt") == pytest.approx(3 / 5)
    assert report.value("oracle_prompt") == pytest.approx(3 / 5)  # over the same recordings
    assert {r.n for r in report.records} == {5}
    assert "t: 2 of 7 recordings could not be read and are not scored, the first: s2.wav: unreadable" in report.notes
    rows = report.predictions[report.predictions["protocol"] == "accuracy_mean"]
    assert list(rows["item"]) == ["s1", "s3", "s4", "s5", "s6"]
    for name in [n for n in table.vectors if n.endswith(".wav")]:
        del table.vectors[name]
    with pytest.raises(UserError, match=r"7 of 7 items .* first: s1 \(s1\.wav: unreadable\)"):
        evaluate(table, tmp_path, max_bad=1.0)


def test_missing_recordings_are_found_in_the_headers(table: ByTable, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"7 of 7 items .* first: .*s1\.wav \(no such file\)"):
        SpeechIntent(spec(tmp_path)).check()


def test_intents_are_ranked_best_first(table: ByTable) -> None:
    intents = ["weather", "stop", "set alarm", "play music"]
    first, second = rank_intents(table, ["s2.wav", Path("far/s3.wav")], intents, ["{c}"])
    assert [name for name, _ in first] == ["set alarm", "play music", "weather", "stop"]
    assert [score for _, score in first] == pytest.approx([0.8, 0.6, 0, 0])
    assert [name for name, _ in second] == ["set alarm", "play music", "stop", "weather"]  # a tie: as typed
    with pytest.raises(UserError, match="no intents to choose among"):
        rank_intents(table, ["s2.wav"], [], ["{c}"])
    with pytest.raises(UserError, match=r"speech: nothing\.wav: unreadable"):
        rank_intents(table, ["nothing.wav"], intents, ["{c}"])


def test_one_intent_is_no_choice(tmp_path):
    write_json_lines(tmp_path / "t.jsonl", [{"id": "1", "speech": "a.wav", "text": "go", "label": "go"}])
    with pytest.raises(UserError, match=r"t\.jsonl: one intent \(go\), expected two or more"):
        SpeechIntent(SpeechIntent.Spec(test=tmp_path / "t.jsonl"))
