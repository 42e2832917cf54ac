"""Which phrases of each intent training never hears, in any filling: what the test is made of.

Input: phrases, a share, a seed. Output: `HeldOut`. A pure function of these.

A phrase is held out only where its intent keeps enough: an intent of fewer than four phrases keeps all, and a phrase
stays where it is the last of its intent with one of its slots, since a value that was never heard in its place is
another question. Intents without a held-out phrase are tested on known phrases in unknown voices, and the report says
which these are.
"""

import random
from dataclasses import dataclass

from xmodal.synthesis.phrases import Phrase, Phrases

FEWEST = 4  # phrases of an intent before one is held out
SHARE = 0.2


@dataclass(frozen=True)
class HeldOut:
    """The phrases in two parts."""

    trained: tuple[Phrase, ...]
    tested: tuple[Phrase, ...]  # never in training
    whole: tuple[str, ...]  # intents of which nothing is held out


def hold_out(phrases: Phrases, share: float = SHARE, seed: int = 0) -> HeldOut:
    """Choose `share` of the phrases of each intent, one at least where it has four or more; share 0: none.

    Example:
        hold_out(phrases).tested[0].written  # "can I get a $size tea"
    """
    out: set[str] = set()
    whole = []
    for intent in phrases.intents:
        own = phrases.of(intent)
        wanted = max(1, round(share * len(own))) if share > 0 and len(own) >= FEWEST else 0
        chosen = _chosen(own, min(wanted, len(own) - 2), f"{seed}/{intent}/held out")
        out |= {phrase.id for phrase in chosen}
        if not chosen:
            whole.append(intent)
    trained = tuple(phrase for phrase in phrases.phrases if phrase.id not in out)
    return HeldOut(trained, tuple(phrase for phrase in phrases.phrases if phrase.id in out), tuple(whole))


def _chosen(own: list[Phrase], wanted: int, seed: str) -> list[Phrase]:
    chosen: list[Phrase] = []
    for phrase in random.Random(seed).sample(own, len(own)):
        if len(chosen) >= wanted:
            break
        kept = {slot for other in own if other is not phrase and other not in chosen for slot in other.slots}
        if set(phrase.slots) <= kept:
            chosen.append(phrase)
    return chosen
