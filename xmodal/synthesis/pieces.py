"""Words and short pieces out of texts: what a speech tower should have heard alone, from the texts of its own training.

Input: texts. Output: words that occur in them, and runs of two and three neighbouring words, drawn.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable

WORDS = 0.4  # share of the pieces that are single words
TWICE = 2  # how often a word must occur to be voiced alone: names and misspellings occur once


def pieces_of(texts: Iterable[str], count: int, seed: int = 0) -> list[str]:
    """At most `count` different words and pieces of the texts, in lower case; fewer where the texts have fewer.

    Example:
        pieces_of(["turn the lights on", "turn it off"], 4)  # ["turn", "lights on", "it off", ...]
    """
    often: Counter[str] = Counter()
    runs: set[str] = set()
    for text in texts:
        for part in re.split(r"[^\w\s']|\d", text.lower()):  # neighbours were said one after the other
            said = re.findall(r"[^\W_]+(?:'[^\W_]+)*", part)
            often.update(said)
            runs |= {" ".join(said[at : at + n]) for n in (2, 3) for at in range(len(said) - n + 1)}
    draw = random.Random(seed)
    words = sorted(word for word, times in often.items() if times >= TWICE and len(word) > 1)
    draw.shuffle(words)
    rest = sorted(runs)
    draw.shuffle(rest)
    words = words[: round(count * WORDS)]
    return words + rest[: count - len(words)]
