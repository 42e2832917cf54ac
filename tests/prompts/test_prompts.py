"""Templates and names: what the shipped sets hold, and what a wrong set says."""

from pathlib import Path

import pytest

from xmodal.errors import UserError
from xmodal.prompts import class_names, fill, load_templates, read_names, readable


@pytest.mark.parametrize(("name", "least", "most"), [("speech_intent", 6, 12), ("digits", 2, 12), ("plain", 1, 1)])
def test_shipped_sets_are_distinct_sentences_with_one_slot(name: str, least: int, most: int) -> None:
    templates = load_templates(name)
    assert least <= len(templates) <= most
    assert len(set(templates)) == len(templates)
    assert all(t.count("{c}") == 1 and t == t.strip() for t in templates)


def test_plain_is_the_name_itself() -> None:
    assert fill(load_templates("plain"), "seven") == ["seven"]


def test_fill_keeps_order_and_other_braces() -> None:
    assert fill(["{c}", "a {c} of {d} and {c}"], "cup") == ["cup", "a cup of {d} and cup"]


@pytest.mark.parametrize(
    ("label", "words"), [("play_music", "play music"), ("iot_hue_lighton", "iot hue lighton"), ("seven", "seven")]
)
def test_readable(label: str, words: str) -> None:
    assert readable(label) == words


def test_own_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text('- "{c}"\n- say {c}\n')
    assert load_templates(path) == load_templates(str(path)) == ["{c}", "say {c}"]


def test_unknown_set_names_the_known_and_the_nearest() -> None:
    with pytest.raises(UserError, match=r"'speech_intents' among .*plain.*speech_intent; did you mean speech_intent\?"):
        load_templates("speech_intents")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "expected a list"),
        ("[]", "expected a list"),
        ("a: 1", "expected a list"),
        ('- "{c}"\n- no slot here', "template 2, 'no slot here'"),
        ("- {c}", "template 1"),  # without quotes YAML reads a mapping
        ("- [", "not a YAML list"),
    ],
)
def test_wrong_file_says_where(tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=line) as error:
        load_templates(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such template file"):
        load_templates(tmp_path / "none.yaml")


def test_text_files_with_one_a_line(tmp_path: Path) -> None:
    templates, names = tmp_path / "t.txt", tmp_path / "names.txt"
    templates.write_text("a photo of a {c}.\n\n{c}\n")
    assert load_templates(templates) == ["a photo of a {c}.", "{c}"]
    names.write_text("cat\n\ndog\n")
    assert read_names(names) == {"0": "cat", "2": "dog"}
    assert class_names(["2", "1"], names) == ["dog", "1"]
    templates.write_text("a photo\n")
    with pytest.raises(UserError, match=r"t\.txt: template 1, 'a photo'"):
        load_templates(templates)
