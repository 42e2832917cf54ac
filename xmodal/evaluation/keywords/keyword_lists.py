"""Lists of keywords: those of the published tests, and one's own; and which class of a list a label is."""

from collections.abc import Sequence

from xmodal.errors import UserError

UNKNOWN, SILENCE = "_unknown_", "_silence_"
NAMES_OF_SILENCE = frozenset({SILENCE, "silence", "_background_noise_", "background_noise"})

_TEN = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
_ALL = """
    backward bed bird cat dog down eight five follow forward four go happy house learn left marvin nine no off on one
    right seven sheila six stop three tree two up visual wow yes zero
"""
LISTS = {
    "12": (*_TEN, UNKNOWN, SILENCE),  # Speech Commands V2 (Warden 2018, 1804.03209), the official test archive
    "35": tuple(_ALL.split()),  # Speech Commands V2, testing_list.txt
    "superb": (*_TEN, UNKNOWN, SILENCE),  # SUPERB KS (2105.01051): Speech Commands V0.01, 3,081 test clips
}


def find_list(words: str | Sequence[str]) -> tuple[str, ...]:
    """The classes of a list: a published one by its name, or the words that are given.

    Raises:
        UserError: no such list; fewer than two classes, a word named twice or empty.

    Example:
        find_list("12")[-1]  # "_silence_"
    """
    if isinstance(words, str):
        if words not in LISTS:
            raise UserError(f"words: no list {words!r}; expected {', '.join(LISTS)}, or two or more words")
        return LISTS[words]
    found = tuple(words)
    if len(found) < 2:
        raise UserError(f"words: {len(found)} word ({', '.join(found)}), expected two or more, or a list's name")
    twice = sorted({word for word in found if found.count(word) > 1})
    if twice or not all(word.strip() for word in found):
        raise UserError(f"words: {twice[0]!r} is named twice" if twice else "words: an empty word; take it out")
    if not set(found) - {UNKNOWN, SILENCE}:
        raise UserError(f"words: {', '.join(found)}: expected a word to spot among them")
    return found


def class_of(label: str | None, classes: Sequence[str]) -> str | None:
    """The class of a list that a label of a test belongs to; None: the list has no place for it.

    Example:
        class_of("marvin", LISTS["12"]), class_of("marvin", ["yes", "no"])  # "_unknown_", None
    """
    if label in classes:
        return label
    if label in NAMES_OF_SILENCE:
        return SILENCE if SILENCE in classes else None
    return UNKNOWN if UNKNOWN in classes else None
