"""The file of phrases: what it may say, and one line for each mistake."""

import re
import textwrap
from pathlib import Path

import pytest

from xmodal.errors import UserError
from xmodal.synthesis.phrases import read_phrases

GOOD = """
slots:
  size: [small, medium, large]
  drink: [latte, mocha, flat white]
intents:
  order_drink:
    name: order a drink
    phrases:
      - a $size $drink please
      - (can|could) I get a $drink
  cancel:
    - cancel my order
    - Never mind!
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "phrases.yaml"
    path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    return path


def mistakes(folder: Path, text: str) -> list[str]:
    path = write(folder, text)
    with pytest.raises(UserError) as error:
        read_phrases(path)
    lines = str(error.value).split("\n")
    assert all(line.startswith(f"{path}: ") for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


def test_a_file_as_it_is_meant(tmp_path: Path) -> None:
    phrases = read_phrases(write(tmp_path, GOOD))
    assert phrases.intents == ["order_drink", "cancel"]
    assert phrases.names == {"order_drink": "order a drink", "cancel": "cancel"}
    assert [phrase.id for phrase in phrases.phrases] == ["order_drink/0", "order_drink/1", "cancel/0", "cancel/1"]
    assert phrases.phrases[0].slots == ("size", "drink")
    assert [phrase.line for phrase in phrases.phrases] == [8, 9, 11, 12]
    assert {f.text for f in phrases.draw(phrases.phrases[1], 99, "0")} == {
        f"{can} I get a {drink}" for can in ("can", "could") for drink in ("latte", "mocha", "flat white")
    }
    assert phrases.warnings == ()


def test_a_slot_without_a_phrase_is_a_warning(tmp_path: Path) -> None:
    phrases = read_phrases(write(tmp_path, GOOD.replace("$size ", "")))
    assert list(phrases.slots) == ["drink"]
    [warning] = phrases.warnings
    assert warning.endswith("phrases.yaml: line 2: slots.size: no phrase uses it; it is left out")


MISTAKES = [
    ("a $size ", "a $sise ", 8, "intents.order_drink: 'a $sise $drink please': no slot sise; did you mean $size?"),
    ("Never mind!", "$wine", 12, "intents.cancel: '$wine': no slot wine; known are $size, $drink"),
    ("Never mind!", "for 5 $", 12, "intents.cancel: 'for 5 $': holds a $ without a name; a slot is written $size"),
    ("Never mind!", "'{size}'", 12, "intents.cancel: '{size}': holds braces; slots are written $size"),
    ("Never mind!", "(a|b", 12, "intents.cancel: '(a|b': alternatives are written (a|b), none inside another"),
    ("Never mind!", "((a|b)|c)", 12, "intents.cancel: '((a|b)|c)': alternatives are written (a|b), none inside"),
    ("Never mind!", "'!'", 12, "intents.cancel: '!': has no word in it; write what people say, or leave it out"),
    ("Never mind!", "'(well|) (!|$size)'", 12, "intents.cancel: '(well|) (!|$size)': has no word in it, said as ' !'"),
    ("Never mind!", "'(never mind|)'", 12, "intents.cancel: '(never mind|)': has no word in it, said as ''; write"),
    ("  cancel:", "  '!?':", 10, "intents.!?: its name has no word in it; write a name: below it"),
    ("Never mind!", "Cancel, my order", 12, "intents.cancel: 'Cancel, my order' is there twice, first on line 11"),
    ("Never mind!", "could I get a mocha", 12, "intents.cancel: 'could I get a mocha' can say 'could i get a mocha', "
     "and so can '(can|could) I get a $drink' of intent order_drink (line 9); what is said has one intent: reword"),
    ("[small, medium, large]", "[]", 2, "slots.size: found 0, must be at least 1"),
    ("[small, medium, large]", "small", 2, "slots.size: 'small' must be a list, as [small]"),
    ("[small, medium, large]", "[small, Small]", 2, "slots.size: 'Small' is there twice; leave it out"),
    ("[small, medium, large]", "[small, 2]", 2, "slots.size.1: 2 must be text (put quotes around it)"),
    ("[small, medium, large]", "[small, $x]", 2, "slots.size: '$x' holds a sign of templates; write it as it is said"),
    ("size: [", "text: [", 2, "slots.text: recordings have a column of this name; call it text_value"),
    ("    - cancel my order\n    - Never mind!", "    []", 10, "intents.cancel.phrases: found 0, must be at least 1"),
    ("    - cancel my order\n    - Never mind!", "    no thanks", 10, "intents.cancel: expected a list of phrases"),
    ("slots:", "slot:", 1, "slot: unknown key; did you mean slots?"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "number", "line"), MISTAKES)
def test_a_mistake_is_one_line_with_its_place(old: str, new: str, number: int, line: str, tmp_path: Path) -> None:
    found = mistakes(tmp_path, GOOD.replace(old, new))
    here = [each for each in found if each.startswith(f"line {number}: {line}")]
    assert len(here) == 1
    caused = {"slot:", "text: ["}  # phrases then lack their slot, and say so
    assert len(found) == 1 or new in caused


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (
            "    - Never mind!",
            "    - Never mind!\n  cancel: [stop]",
            "line 13, column 3: key 'cancel' is given twice, ",
        ),
        ("    - Never mind!", "    - 'never", "line 13, column 1: found unexpected end of stream"),
    ],
)
def test_what_is_no_yaml(old: str, new: str, line: str, tmp_path: Path) -> None:
    [found] = mistakes(tmp_path, GOOD.replace(old, new))
    assert found.startswith(line)


def test_a_single_intent_has_nothing_to_choose_among(tmp_path: Path) -> None:
    [line] = mistakes(tmp_path, "intents: {cancel: [cancel my order]}")
    assert line.startswith("line 1: intents: found 1 (cancel), expected two or more to choose among")


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("a $size ", "a $sise ").replace("Never mind!", "'...'").replace("medium", "small")
    assert len(mistakes(tmp_path, text)) == 3


def test_a_phrase_of_another_type_is_one_mistake(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "intents: {a: [1], b: [bye]}") == [
        "line 1: intents.a.phrases.0: 1 must be text (put quotes around it)"
    ]


def test_two_intents_of_one_name(tmp_path: Path) -> None:
    [line] = mistakes(tmp_path, "intents:\n  stop_it: [halt]\n  b: {name: Stop it, phrases: [bye]}")
    assert line == "intents.b: is called 'Stop it', and so is stop_it; give one another name"


@pytest.mark.parametrize(
    "text",
    ["", "- a\n- b\n", "intents: {a: [x], b: [y]}\nintents: {}\n", "\tintents:", "intents: " + "[" * 3000],
    ids=["empty", "list", "twice", "tab", "deep"],
)
def test_what_is_no_mapping(text: str, tmp_path: Path) -> None:
    assert len(mistakes(tmp_path, text)) == 1


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere.yaml"):
        with pytest.raises(UserError, match=re.escape(str(path))):
            read_phrases(path)


def test_phrases_with_more_fillings_than_are_listed_are_compared_too(tmp_path: Path) -> None:
    words = ", ".join(f"word{i}" for i in range(100))
    text = f"""
    slots: {{x: [{words}], y: [{words}], z: [{words}]}}
    intents:
      one: [say $x and $y and $z]
      two: [nothing else, say word7 and word50 and word99]
    """
    [line] = mistakes(tmp_path, text)
    assert "'say word7 and word50 and word99'" in line
    assert line.startswith("line 3: intents.one: 'say $x and $y and $z' can say")


def test_the_example_of_the_documents_is_right() -> None:
    phrases = read_phrases(Path(__file__).parents[2] / "docs" / "pizza.yaml")
    assert (len(phrases.phrases), len(phrases.intents), phrases.warnings) == (64, 10, ())
