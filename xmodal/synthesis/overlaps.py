"""Phrases that say the same: twice in one intent as written, or in two intents whatever fills their slots; and names.

Input: phrases as `phrases.py` reads them. Output: a line for each mistake.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from xmodal.prompts import bare_words
from xmodal.synthesis.expansion import count, draw, every, pattern

if TYPE_CHECKING:
    from xmodal.synthesis.phrases import Phrase, Phrases

FILLED = 500_000  # fillings of all phrases that are looked at one by one; a phrase with more than its share is matched
DRAWN = 200  # fillings of such a phrase that are compared with others of the kind


def overlaps(phrases: "Phrases") -> list[str]:
    """A line for each phrase that repeats one of its intent, or can say what a phrase of another intent can; for each
    intent that is called what another is.
    """
    return [*_names(phrases), *_repeated(phrases), *_shared(phrases)]


def _names(phrases: "Phrases") -> Iterator[str]:
    first: dict[str, str] = {}
    for intent, name in phrases.names.items():
        other = first.setdefault(bare_words(name), intent)
        if other != intent:
            yield f"{phrases.path}: intents.{intent}: is called {name!r}, and so is {other}; give one another name"


def _repeated(phrases: "Phrases") -> Iterator[str]:
    first: dict[tuple[str, str], Phrase] = {}
    for phrase in phrases.phrases:
        key = (phrase.intent, bare_words(re.sub(r"\{(\w+)\}", r" slot_\1 ", phrase.template)))
        other = first.setdefault(key, phrase)
        if other is not phrase:
            yield f"{_place(phrases, phrase)} is there twice, first on line {other.line}; leave one out"


def _shared(phrases: "Phrases") -> Iterator[str]:
    """Phrases of different intents with a filling in common: exact unless both have more fillings than are listed."""
    listed = FILLED // max(1, len(phrases.phrases))
    said: dict[str, Phrase] = {}
    large: list[Phrase] = []
    told: set[tuple[str, str]] = set()
    for phrase in phrases.phrases:
        if count(phrase.template, phrases.slots) > listed:
            large.append(phrase)
            continue
        for filling in every(phrase.template, phrases.slots):
            text = bare_words(filling.text)
            other = said.setdefault(text, phrase)
            yield from _told(phrases, phrase, other, text, told)
    samples = [
        (bare_words(filling.text), phrase)
        for phrase in large
        for filling in draw(phrase.template, phrases.slots, DRAWN, "overlaps")
    ]
    for phrase in large:
        says = re.compile(pattern(phrase.template, phrases.slots, bare_words))
        for text, other in [*said.items(), *samples]:
            if other.intent != phrase.intent and says.fullmatch(text):
                yield from _told(phrases, phrase, other, text, told)


def _told(
    phrases: "Phrases", phrase: "Phrase", other: "Phrase", text: str, told: set[tuple[str, str]]
) -> Iterator[str]:
    pair = (min(phrase.id, other.id), max(phrase.id, other.id))
    if other.intent != phrase.intent and pair not in told:
        told.add(pair)
        yield (
            f"{_place(phrases, phrase)} can say {text!r}, and so can {other.written!r} of intent {other.intent} (line "
            f"{other.line}); what is said has one intent: reword one of them"
        )


def _place(phrases: "Phrases", phrase: "Phrase") -> str:
    return f"{phrases.path}: line {phrase.line}: intents.{phrase.intent}: {phrase.written!r}"
