"""Sizes for a number of minutes, what is held out, what is said in training and in tests."""

import random
import textwrap
from collections import Counter
from pathlib import Path

import pytest

from xmodal.prompts import bare_words
from xmodal.synthesis.expansion import every
from xmodal.synthesis.phrases import Phrases, read_phrases
from xmodal.teaching.held_out import HeldOut, hold_out
from xmodal.teaching.plan import ENCODING, FIXED, STEP, plan_for
from xmodal.teaching.sentences import intent_examples, sentences, set_examples

FILE = """
slots:
  size: [small, medium, large]
  drink: [latte, mocha, black tea]
  milk: [oat, soy]
intents:
  order:
    - a $size $drink please
    - can I get a $drink
    - I would like a $size $drink
    - one $drink (please|to go)
    - make me a $drink (with $milk milk|)
    - (give|bring) me a $drink
    - and a $drink as well
  cancel: [cancel my order, never mind, forget about it, stop it please, I do not want it]
  pay: [I want to pay, how much is it, the bill please]
"""


@pytest.fixture(scope="module")
def phrases(tmp_path_factory: pytest.TempPathFactory) -> Phrases:
    path = tmp_path_factory.mktemp("phrases") / "phrases.yaml"
    path.write_text(textwrap.dedent(FILE))
    return read_phrases(path)


@pytest.mark.parametrize("seed", range(6))
def test_each_intent_gives_a_fifth_and_no_slot_loses_its_last_phrase(phrases: Phrases, seed: int) -> None:
    held = hold_out(phrases, seed=seed)
    assert Counter(phrase.intent for phrase in held.tested) == {"order": 1, "cancel": 1}
    assert held.whole == ("pay",)
    assert {*held.trained} | {*held.tested} == {*phrases.phrases}
    assert not {*held.trained} & {*held.tested}
    assert {slot for phrase in held.trained for slot in phrase.slots} == set(phrases.slots)
    assert all("milk" not in phrase.slots for phrase in held.tested)  # one phrase alone has it
    assert held == hold_out(phrases, seed=seed)


def test_seeds_choose_other_phrases_and_share_none_nothing(phrases: Phrases) -> None:
    assert len({hold_out(phrases, seed=seed).tested for seed in range(8)}) > 2
    assert hold_out(phrases, share=0).tested == ()
    most = hold_out(phrases, share=0.8)
    assert min(Counter(phrase.intent for phrase in most.trained).values()) >= 2


def said_by(phrases: Phrases, held: HeldOut) -> set[str]:
    """All that the held-out phrases can say, listed one by one."""
    return {bare_words(f.text) for phrase in held.tested for f in every(phrase.template, phrases.slots)}


@pytest.mark.parametrize("seed", range(4))
def test_training_and_examples_say_nothing_that_a_held_out_phrase_can(phrases: Phrases, seed: int) -> None:
    held = hold_out(phrases, seed=seed)
    said = sentences(phrases, held, 24, seed)
    tested = said_by(phrases, held)
    assert not {bare_words(row["text"]) for row in said.train} & tested
    assert not {bare_words(row["text"]) for row in intent_examples(phrases, held, seed)} & tested
    assert {bare_words(row["text"]) for row in said.new_phrases} <= tested
    assert {bare_words(row["text"]) for row in said.dev} <= tested
    assert {row["id"] for row in said.known_phrases} <= {row["id"] for row in said.train}
    assert len({row["id"] for row in said.train}) == len(said.train)
    assert len({row["text"] for row in said.train}) == len(said.train)


def test_a_phrase_that_a_held_out_one_can_say_is_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "phrases.yaml"
    path.write_text(
        "slots: {x: [tea, milk]}\nintents:\n  a: [one $x, one tea, two $x, three $x, four $x]\n  b: [stop]\n"
    )
    phrases = read_phrases(path)
    held = HeldOut(phrases.phrases[1:], phrases.phrases[:1], ())
    said = sentences(phrases, held, 9, 0)
    assert said.left_out == 1
    assert "one tea" not in {row["text"] for row in said.train}


def test_labels_are_the_values_that_stand_in_the_sentence(phrases: Phrases) -> None:
    for row in sentences(phrases, hold_out(phrases), 24, 0).train:
        for slot, values in phrases.slots.items():
            there = [value for value in values if value in row["text"].split() or value in row["text"]]
            assert row[slot] == (there[0] if there else None)
        assert row["intent"] == row["label"]
        assert row["text"] == row["spoken"].lower()


def test_examples_of_a_slot_say_every_value_in_the_same_words(phrases: Phrases) -> None:
    rows = [row for row in set_examples(phrases, hold_out(phrases), 0) if row["slot"] == "drink"]
    frames = {
        value: sorted(row["text"].replace(value, "*") for row in rows if row["drink"] == value)
        for value in phrases.slots["drink"]
    }
    assert frames["latte"] == frames["mocha"] == frames["black tea"]
    milk = [row for row in set_examples(phrases, hold_out(phrases), 0) if row["slot"] == "milk"]
    assert {row["milk"] for row in milk} == {"oat", "soy", None}
    assert all(("milk" in row["text"]) == (row["milk"] is not None) for row in milk)


@pytest.mark.parametrize("minutes", [1.0, 5.0, 10.0, 40.0])
def test_a_plan_keeps_to_its_minutes_where_it_can(minutes: float) -> None:
    rng = random.Random(minutes)
    for _ in range(20):
        fillings = [rng.choice([1, 1, 6, 90, 10_000]) for _ in range(rng.randrange(4, 400))]
        plan = plan_for(minutes, fillings)
        heard = [min(each, plan.per_phrase) * plan.voices_of(min(each, plan.per_phrase)) for each in fillings]
        assert all(2 <= plan.voices_of(sentences) <= 30 for sentences in (1, 6, 24))
        assert max(heard) <= max(2, plan.recordings)  # no phrase drowns the others
        if plan.steps > 100:
            assert plan.seconds <= 60 * minutes + 1
        spent = FIXED + ENCODING * (sum(heard) + plan.background) + STEP * plan.steps
        assert plan.seconds == pytest.approx(spent)
        assert plan.with_steps(plan.steps + 60).seconds == pytest.approx(plan.seconds + 60 * STEP)


def test_four_hundred_phrases_get_ten_voices_in_ten_minutes() -> None:
    plan = plan_for(10, [1] * 400)
    assert plan.voices_of(1) >= 10
    assert plan.seconds <= 600
    assert plan.steps >= 500
    assert plan_for(10, [1] * 400, human=2500).recordings < plan.recordings
