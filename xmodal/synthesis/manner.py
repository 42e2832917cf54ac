"""Who speaks an utterance and how: voice, rate, pitch, a pure function of seed, id and take.

Two voices are held out for tests: none of the training voices is one of them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

_ACCENTS = ("en", "en-us", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-us-nyc")
_TIMBRES = ("", "+m1", "+m2", "+m3", "+m4", "+m5", "+f1", "+f2", "+f3", "+f5")
TRAINING_VOICES = tuple(accent + timbre for accent in _ACCENTS for timbre in _TIMBRES)
HELD_OUT_VOICES = ("en-us+f4", "en-gb-x-gbclan+m7")  # another timbre; another accent and timbre
DEV_VOICES = ("en-gb-x-rp+f3", "en-us-nyc+m4")  # of the training voices: left out of training where settings are chosen


@dataclass(frozen=True)
class Manner:
    """How one utterance is spoken. `rate` in words per minute; `pitch` and `range` 0..99, 50 is the voice's own."""

    voice: str
    rate: int = 175
    pitch: int = 50
    range: int = 50


def manner_of(seed: int, item_id: str, voices: Sequence[str] = TRAINING_VOICES, take: int = 0) -> Manner:
    """The voice, rate (140..210), pitch (25..75) and range (30..70) of one take of one id: a pure function of these.

    Takes of one id go through `voices` in turn, so `len(voices)` takes use every voice once.

    Example:
        manner_of(0, "lights-7").rate  # the same on every machine
    """
    first = int.from_bytes(hashlib.blake2b(f"{seed}\0{item_id}".encode(), digest_size=8).digest(), "little")
    draws = hashlib.blake2b(f"{seed}\0{item_id}\0{take}".encode(), digest_size=12).digest()
    rate, pitch, spread = (int.from_bytes(draws[i : i + 4], "little") for i in (0, 4, 8))
    return Manner(
        voices[(first + take) % len(voices)], rate=140 + rate % 71, pitch=25 + pitch % 51, range=30 + spread % 41
    )
