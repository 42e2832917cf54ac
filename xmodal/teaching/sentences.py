"""What is said in training and in tests: sentences out of phrases, and the texts behind class vectors.

Input: phrases and which of them are held out. Output: rows, by part. Pure functions of these and a seed; nothing is
voiced here.

    train          the trained phrases, each in some fillings
    new_phrases    the held-out phrases: never in training, in no filling
    known_phrases  trained sentences, to be heard in voices that training never heard
    dev            held-out phrases again, in a voice of training: what the threshold of "none of these" is chosen on
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from xmodal.prompts import bare_words
from xmodal.synthesis.expansion import draw, pattern
from xmodal.synthesis.phrases import Phrase, Phrases
from xmodal.teaching.held_out import HeldOut

TESTED = 6  # sentences of a held-out phrase
KNOWN = 150  # trained sentences that are heard in held-out voices, spread over all phrases
INTENT = "intent"  # the label set of the intents
EXAMPLES = 6  # sentences of a phrase behind an intent's vector
OTHERS = 2  # fillings of a phrase's other slots, the same for each value of the slot in question
SLOT_TEXTS = 600  # behind the vectors of one slot

Row = dict[str, Any]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Sentences:
    """Rows with id, spoken, text (lower case), label, intent, phrase and a column for each slot (None: not there)."""

    train: list[Row]
    new_phrases: list[Row]
    known_phrases: list[Row]
    dev: list[Row]
    left_out: int  # training sentences that a held-out phrase can say too

    def part(self, name: str) -> list[Row]:
        """The rows of a part, by name."""
        return list(getattr(self, name))


def sentences(phrases: Phrases, held: HeldOut, per_phrase: int, seed: int) -> Sentences:
    """All that is to be said; raises nothing: the phrases were checked when they were read."""
    tested = [re.compile(pattern(phrase.template, phrases.slots, bare_words)) for phrase in held.tested]
    train: list[Row] = []
    said: set[str] = set()
    left_out = 0
    for phrase in held.trained:
        for row in _rows(phrases, phrase, per_phrase, f"{seed}/train"):
            text = bare_words(row["spoken"])
            if text in said:
                continue  # another phrase of the intent says it already
            if any(each.fullmatch(text) for each in tested):
                left_out += 1
                continue
            said.add(text)
            train.append(row)
    new = [row for phrase in held.tested for row in _rows(phrases, phrase, TESTED, f"{seed}/test")]
    dev = [row for phrase in held.tested for row in _rows(phrases, phrase, TESTED, f"{seed}/dev")]
    known = _each_phrase(train, KNOWN, seed)
    return Sentences(train, _distinct(new), known, _distinct(dev) or known, left_out)


def intent_examples(phrases: Phrases, held: HeldOut, seed: int) -> list[Row]:
    """Texts behind each intent's vector: some sentences of every trained phrase, none that a test says.

    Columns text, label, phrase.
    """
    tested = [re.compile(pattern(phrase.template, phrases.slots, bare_words)) for phrase in held.tested]
    rows: list[Row] = []
    seen: set[str] = set()
    for phrase in held.trained:
        for filling in phrases.draw(phrase, EXAMPLES, f"{seed}/examples"):
            text = bare_words(filling.text)
            if text not in seen and not any(each.fullmatch(text) for each in tested):
                seen.add(text)
                rows.append({"text": filling.text.lower(), "label": phrase.intent, "phrase": phrase.id})
    return rows


def set_examples(phrases: Phrases, held: HeldOut, seed: int) -> list[Row]:
    """Texts behind the vectors of every slot's values, and of its absence in an intent that may go without.

    Each phrase says all values of the slot in the same words otherwise, so that vectors of two values differ by the
    value alone. Columns: text, one for each label set (`intent` and the slots: what the text stands for there), `slot`
    (which the text is for; None: the intent) and `of` (the intent). A row whose slot's column is None lacks the slot.
    """
    rows = [
        _set_row(phrases, row["text"], row["label"], None, row["label"]) for row in intent_examples(phrases, held, seed)
    ]
    for slot, values in phrases.slots.items():
        using = [phrase for phrase in held.trained if phrase.template.count(f"{{{slot}}}") == 1]
        for phrase in spread(using, max(1, SLOT_TEXTS // len(values))):
            for value in values:
                only = {**phrases.slots, slot: (value,)}
                for filling in draw(phrase.template, only, OTHERS, f"{seed}/{slot}/{phrase.id}"):
                    if slot in filling.values:  # not in an alternative that was not taken
                        rows.append(_set_row(phrases, filling.text, phrase.intent, slot, value))
        users = {phrase.intent for phrase in using}
        for phrase in (phrase for phrase in held.trained if phrase.intent in users):
            for filling in phrases.draw(phrase, 2 * OTHERS, f"{seed}/{slot}"):
                if slot not in (name for name, _ in filling.pairs):
                    rows.append(_set_row(phrases, filling.text, phrase.intent, slot, None))
    return rows


def _set_row(phrases: Phrases, text: str, intent: str, slot: str | None, value: str | None) -> Row:
    sets = dict.fromkeys([INTENT, *phrases.slots]) | {slot or INTENT: value}
    return {"text": text.lower(), "slot": slot, "of": intent, **sets}


def _rows(phrases: Phrases, phrase: Phrase, limit: int, seed: str) -> list[Row]:
    return [
        {
            "id": f"{phrase.id}/{number}",
            "spoken": filling.text,
            "text": filling.text.lower(),
            "label": phrase.intent,
            INTENT: phrase.intent,
            "phrase": phrase.id,
            **{slot: filling.values.get(slot) for slot in phrases.slots},
        }
        for number, filling in enumerate(phrases.draw(phrase, limit, seed))
    ]


def _each_phrase(rows: list[Row], most: int, seed: int) -> list[Row]:
    """At most `most` of the rows, about equally many of each phrase, in their own order."""
    of_phrase: dict[str, int] = {}
    turns = []
    for at in random.Random(f"{seed}/known").sample(range(len(rows)), len(rows)):
        phrase = rows[at]["phrase"]
        of_phrase[phrase] = of_phrase.get(phrase, 0) + 1
        turns.append((of_phrase[phrase], at))
    return [rows[at] for _, at in sorted(sorted(turns)[:most], key=lambda turn: turn[1])]


def _distinct(rows: list[Row]) -> list[Row]:
    """Rows of different texts, the first of each."""
    found: dict[str, Row] = {}
    for row in rows:
        found.setdefault(bare_words(row["spoken"]), row)
    return list(found.values())


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` of the items, evenly spread."""
    if len(items) <= most:
        return list(items)
    return [items[round(at * (len(items) - 1) / max(1, most - 1))] for at in range(most)]
