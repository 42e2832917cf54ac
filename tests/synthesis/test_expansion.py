"""Templates filled: by hand, against plain loops, and evenly."""

import itertools
import re
from collections import Counter

import pytest

from xmodal.prompts import bare_words
from xmodal.synthesis.expansion import count, draw, every, expand, pattern

SLOTS = {"size": ["small", "medium", "large"], "drink": ["latte", "mocha"], "n": ["one", "two"]}


def test_expand_by_hand() -> None:
    slots = {"x": ["the red lamp", "a lamp"], "n": ["one", "two"]}
    assert set(expand("turn {x} (on|off {n})", slots, 99, "s")) == {
        "turn the red lamp on",
        "turn the red lamp off one",
        "turn the red lamp off two",
        "turn a lamp on",
        "turn a lamp off one",
        "turn a lamp off two",
    }
    assert expand("say (|it) again", slots, 99, "s", range(3, 10)) == ["say it again"]  # two words are too few
    assert set(expand("from {n} to {n}", slots, 9, "s")) == {"from one to two", "from two to one"}
    assert len(expand("turn {x} (on|off {n})", slots, 2, "s")) == 2


def test_every_filling_is_what_nested_loops_give() -> None:
    found = {filling.text: filling.values for filling in every("a {size} {drink} (please|now|)", SLOTS)}
    expected = {
        f"a {size} {drink} {end}".strip(): {"size": size, "drink": drink}
        for size, drink, end in itertools.product(SLOTS["size"], SLOTS["drink"], ["please", "now", ""])
    }
    assert found == expected
    assert count("a {size} {drink} (please|now|)", SLOTS) == len(expected) == 18


def test_a_slot_that_is_there_twice_has_different_values_and_is_no_label() -> None:
    found = list(every("from {size} to {size} with {drink}", SLOTS))
    assert len(found) == 3 * 2 * 2
    assert all(len({value for slot, value in f.pairs if slot == "size"}) == 2 for f in found)
    assert all(f.values == {"drink": dict(f.pairs)["drink"]} for f in found)


def test_a_slot_in_an_alternative_is_there_only_where_it_was_taken() -> None:
    found = {f.text: f.values for f in every("tea( with {n} sugars|)", SLOTS)}
    assert found == {"tea with one sugars": {"n": "one"}, "tea with two sugars": {"n": "two"}, "tea": {}}


@pytest.mark.parametrize("limit", [6, 12])
def test_draws_take_every_value_equally_often(limit: int) -> None:
    slots = {"size": SLOTS["size"], "drink": [f"drink {i}" for i in range(30)]}
    found = draw("a {size} {drink} (please|now)", slots, limit, "s")
    assert len({filling.text for filling in found}) == len(found) == limit
    assert set(Counter(filling.values["size"] for filling in found).values()) == {limit // 3}
    assert max(Counter(filling.values["drink"] for filling in found).values()) == 1
    assert sum(filling.text.endswith("please") for filling in found) == limit // 2


def test_draws_are_a_function_of_the_seed_and_whole_where_all_fit() -> None:
    template = "a {size} {drink} (please|now)"
    assert draw(template, SLOTS, 5, "a") == draw(template, SLOTS, 5, "a") != draw(template, SLOTS, 5, "b")
    assert draw(template, SLOTS, 12, "a") == list(every(template, SLOTS))
    huge = {"x": [f"word{i}" for i in range(1000)]}
    assert len(draw(" ".join(f"{{x}} {i}" for i in range(8)), huge, 20, "a")) == 20  # of 10^24


def test_paired_draws_differ_in_the_one_slot_alone() -> None:
    """What slots' vectors are made of: the same deal of all other parts for each value."""
    made = {
        value: [f.text for f in draw("{n} {size} {drink} (please|now)", {**SLOTS, "drink": [value]}, 4, "s")]
        for value in SLOTS["drink"]
    }
    assert [text.replace("latte", "mocha") for text in made["latte"]] == made["mocha"]


def test_the_pattern_matches_the_fillings_and_nothing_shorter() -> None:
    template = "A {size} {drink}, (please|to go|)!"
    says = re.compile(pattern(template, SLOTS, bare_words))
    assert all(says.fullmatch(bare_words(filling.text)) for filling in every(template, SLOTS))
    assert not says.fullmatch("a small latte please to go")
    assert not says.fullmatch("a small please")
