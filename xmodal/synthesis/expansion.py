"""Sentences out of templates: slots filled, alternatives chosen.

`{slot}` is one of the slot's values, `(a|b|)` one of its alternatives, which may hold slots. Two ways to draw: `expand`
takes any fillings by chance; `draw` takes every value and every alternative of a template about equally often, whatever
their numbers, and says which value stands in which slot.
"""

import itertools
import math
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

_ALTERNATIVES = re.compile(r"(\([^)]*\))")
_PARTS = re.compile(r"(\([^)]*\)|\{\w+\})")

Slots = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Filling:
    """One sentence of a template."""

    text: str
    pairs: tuple[tuple[str, str], ...] = ()  # (slot, value), in order

    @property
    def values(self) -> dict[str, str]:
        """Slot -> value, of the slots that stand in it once: of one that stands there twice none is *the* value."""
        names = [slot for slot, _ in self.pairs]
        return {slot: value for slot, value in self.pairs if names.count(slot) == 1}


def expand(template: str, slots: Slots, limit: int, seed: str, words: Sequence[int] | range | None = None) -> list[str]:
    """At most `limit` different fillings of a template, of as many words as `words` holds, drawn evenly by `seed`.

    Example:
        expand("(turn|switch) on {x}", {"x": ["it all"]}, 9, "0")  # the two sentences, in a drawn order
    """
    choices = _choices(template, slots, _ALTERNATIVES)
    sizes = [len(c) for c in choices]
    drawn = random.Random(seed).sample(range(math.prod(sizes)), min(4 * limit, math.prod(sizes)))
    out: dict[str, None] = {}
    for index in drawn:
        parts = []
        for choice in choices:
            index, at = divmod(index, len(choice))
            parts.append(choice[at])
        text = _join(parts).text
        if words is None or len(text.split()) in words:
            out[text] = None
    return list(out)[:limit]


def count(template: str, slots: Slots) -> int:
    """How many fillings a template has at most; those that repeat a value are among them."""
    return math.prod(len(choice) for choice in _choices(template, slots, _PARTS))


def every(template: str, slots: Slots) -> Iterator[Filling]:
    """All fillings of a template, those of one text once."""
    found = (_join(parts) for parts in itertools.product(*_choices(template, slots, _PARTS)))
    seen: set[str] = set()
    for filling in found:
        if _differ(filling) and filling.text not in seen:
            seen.add(filling.text)
            yield filling


def draw(template: str, slots: Slots, limit: int, seed: str) -> list[Filling]:
    """At most `limit` different fillings in which every value and alternative occurs about equally often.

    Each part of the template deals its options like a deck of cards, shuffled anew when it is used up. A template with
    no more than `limit` fillings gives them all. A slot that stands there twice has different values.

    Example:
        draw("a {size} tea", {"size": ["small", "large"]}, 1, "0")[0].values  # {"size": "small"} or {"size": "large"}
    """
    choices = _choices(template, slots, _PARTS)
    if math.prod(map(len, choices)) <= limit:
        return list(every(template, slots))
    rng = random.Random(seed)
    decks: list[list[Filling]] = [[] for _ in choices]
    out: dict[str, Filling] = {}
    for _ in range(8 * limit):
        parts = []
        for deck, choice in zip(decks, choices, strict=True):
            if not deck:
                deck.extend(rng.sample(choice, len(choice)))
            parts.append(deck.pop())
        filling = _join(parts)
        if _differ(filling):
            out.setdefault(filling.text, filling)
        if len(out) == limit:
            break
    return list(out.values())


def pattern(template: str, slots: Slots, clean: Callable[[str], str] = str) -> str:
    """A regular expression that fully matches the fillings of a template, spaces aside, and little else.

    Args:
        template: what may be said.
        slots: their values.
        clean: done to every part, as to the texts that are matched.
    """
    return r"\s*".join(
        "(?:" + "|".join(r"\s+".join(map(re.escape, clean(option.text).split())) for option in choice) + ")"
        for choice in _choices(template, slots, _PARTS)
    )


def _differ(filling: Filling) -> bool:
    return len(set(filling.pairs)) == len(filling.pairs)


def _join(parts: Sequence[Filling]) -> Filling:
    words = " ".join("".join(part.text for part in parts).split())
    return Filling(words, tuple(pair for part in parts for pair in part.pairs))


def _choices(template: str, slots: Slots, split: re.Pattern[str]) -> list[list[Filling]]:
    """Every part of a template with what may stand there."""
    return [
        [filled for option in part[1:-1].split("|") for filled in _fill(option, slots)]
        if part.startswith("(")
        else _fill(part, slots)
        for part in split.split(template)
        if part
    ]


def _fill(text: str, slots: Slots) -> list[Filling]:
    """Every filling of a text with slots and no alternatives; a slot that is there twice gets different values."""
    parts = re.split(r"\{(\w+)\}", text)
    names = parts[1::2]
    out = []
    for values in itertools.product(*(slots[name] for name in names)):
        if len(set(values)) == len(values):
            filled = "".join(itertools.chain(*itertools.zip_longest(parts[::2], values, fillvalue="")))
            out.append(Filling(filled, tuple(zip(names, values, strict=True))))
    return out
