"""Class names: where they come from, what fits which label, and what a wrong file says."""

from pathlib import Path

import pytest

from xmodal.errors import UserError
from xmodal.prompts import class_names, lines_of, load_templates, name_labels, read_names, readable


@pytest.mark.parametrize(
    ("label", "words"), [("play_music", "play music"), ("iot_hue_lighton", "iot hue lighton"), ("seven", "seven")]
)
def test_readable(label: str, words: str) -> None:
    assert readable(label) == words


def test_text_files_with_one_a_line(tmp_path: Path) -> None:
    file, names = tmp_path / "t.txt", tmp_path / "names.txt"
    file.write_text("a photo of a {c}.\n\n{c}\n")
    assert load_templates(file) == ["a photo of a {c}.", "{c}"]
    names.write_text("cat\n\ndog\n")
    assert read_names(names) == {"0": "cat", "2": "dog"}
    assert class_names(["2", "0", "2"], names) == ["dog", "cat", "dog"]
    with pytest.raises(UserError, match=r"1 of 2 classes have no name \(first '1'\), and 1 names are for no class"):
        class_names(["2", "1"], names)
    file.write_text("a photo\n")
    with pytest.raises(UserError, match=r"t\.txt: template 1, 'a photo'"):
        load_templates(file)


def test_lines_end_at_newlines_alone(tmp_path: Path) -> None:
    """U+2028, U+0085 and form feeds occur inside names; `splitlines` would move every later class by one."""
    names = ["red\u2028ish", "green\x85", "blue\x0cx", "grey\x1cy", "white\u2029"]
    for end in ("\n", "\r\n", "\r"):
        for last in ("", end):
            assert lines_of(end.join(names) + last) == names
        (tmp_path / "names.txt").write_bytes(end.join(names).encode())
        assert read_names(tmp_path / "names.txt") == {str(at): name.strip() for at, name in enumerate(names)}
        (tmp_path / "t.txt").write_bytes(end.join(f"{{c}} {name}" for name in names).encode())
        assert len(load_templates(tmp_path / "t.txt")) == 5
    assert lines_of("") == []
    assert lines_of("a\n\nb") == ["a", "", "b"]


def test_half_a_surrogate_pair_is_no_name(tmp_path: Path) -> None:
    """JSON may spell one, and no tokenizer takes it."""
    for file, text in {"n.json": '{"a": "x\\ud83d"}', "m.json": '{"\\ud83d": "x"}', "n.yaml": 'a: "x\\ud83d"'}.items():
        (tmp_path / file).write_text(text)
        with pytest.raises(UserError, match=rf"{file}: .*half a surrogate pair") as error:
            read_names(tmp_path / file)
        str(error.value).encode()  # the line itself can be printed
    (tmp_path / "t.yaml").write_text('- "{c} \\ud83d"\n')
    with pytest.raises(UserError, match=r"t\.yaml: template 1, .*half a surrogate pair"):
        load_templates(tmp_path / "t.yaml")
    (tmp_path / "whole.json").write_text('{"a": "\\ud83d\\ude00"}')
    assert read_names(tmp_path / "whole.json") == {"a": "\U0001f600"}


def test_names_in_yaml(tmp_path: Path) -> None:
    """As they are written: a bare no is no false, and 007 no 7."""
    (tmp_path / "n.yaml").write_text("0: cat\n007: agent\nno: 'no'\nfox_1: red fox\n")
    assert read_names(tmp_path / "n.yaml") == {"0": "cat", "007": "agent", "no": "no", "fox_1": "red fox"}
    for text, line in {
        "- a": "expected a YAML mapping of label to readable name",
        "a: [b]": "expected a YAML mapping of label to readable name",
        "a: b\na: c": r"expected YAML with one readable name per label \(line 2: 'a' is given twice\)",
    }.items():
        (tmp_path / "n.yaml").write_text(text)
        with pytest.raises(UserError, match=rf"n\.yaml: {line}"):
            read_names(tmp_path / "n.yaml")
    (tmp_path / "n.yaml").write_text("a: [")
    with pytest.raises(UserError, match=r"n\.yaml: expected YAML with one readable name per label"):
        read_names(tmp_path / "n.yaml")


def test_names_that_are_given_fit_or_it_is_told() -> None:
    given = {"a": "one", "b": "two"}
    assert name_labels(["a", "b"], given, "n.json") == (["one", "two"], [])
    assert name_labels(["x_y"], {}, "n.json") == (["x y"], [])
    names, [note] = name_labels(["a", "b", "c_d"], given, "n.json")
    assert (names, note) == (
        ["one", "two", "c d"],
        "1 of 3 classes have no name in n.json and go by their labels: c_d.",
    )
    names, [note] = name_labels(["a"], given, "n.json")
    assert (names, note) == (["one"], "1 of 2 names of n.json are for no class of the test: b.")
    with pytest.raises(UserError, match=r"1 of 2 classes have no name \(first 'B'\), and 1 names are for no class"):
        name_labels(["a", "B"], given, "n.json")
    with pytest.raises(UserError, match=r"none of the 2 names of n\.json is for one of the labels"):
        name_labels(["A", "B"], given, "n.json")
