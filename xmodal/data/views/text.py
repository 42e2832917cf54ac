"""Training views of texts. Input: a text, and other wordings of it where there are any. Output: another wording.

The steps come in a fixed order: alternatives, synonyms, swap, dropout, spans (what is hidden, last, so that it stays
hidden). Words are what whitespace separates. Easy data augmentation, Wei and Zou 2019 (1901.11196): synonyms, swap,
dropout; text infilling, Lewis et al. 2020 (1910.13461): spans; back-translation, Sennrich et al. 2016 (1511.06709), as
a column of the manifest.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from xmodal.config.augment.text import TextAugment
from xmodal.config.yaml_text import read_mapping
from xmodal.errors import UserError, no_such_file
from xmodal.files import split_lines
from xmodal.processor import Processor

Synonyms = Mapping[str, tuple[str, ...]]  # a word in lower case -> others

_WORD = re.compile(r"^(\W*)(.*?)(\W*)$", re.DOTALL)  # what punctuation stands around a word


@dataclass(frozen=True)
class Rewording:
    """Words texts anew, always by the same table of synonyms.

    - alternatives, alternative p: with probability p another wording of the row takes the text's place, each as likely
    - synonyms, synonym p: each word of the table is replaced with probability p by one of its synonyms; upper case at
      its beginning and punctuation around it stay
    - word_swap s: two words change places, as often as s times the number of words, once at least
    - word_dropout p: each word is left out with probability p; of a text that would lose all, one word stays
    - span_masks n, span_share s: n times a span of 1 word to that share of the words (at least 1) is replaced by one
      mask token, or with `span_as: nothing` left out; one word stays where there are no others

    Args:
        spec: what to do.
        table: the synonyms, where there are any.
        mask: the tower's mask token, where `spec.needs_mask`.

    Example:
        Rewording(TextAugment(word_dropout=0.2))("turn on the lights", np.random.default_rng(0))
    """

    spec: TextAugment
    table: Synonyms = field(default_factory=dict)
    mask: str | None = None

    @classmethod
    def of(cls, spec: TextAugment, processor: Processor) -> "Rewording":
        """That of a tower. Raises `UserError` where the table of synonyms cannot be read."""
        table = read_synonyms(spec.synonyms) if spec.synonyms is not None else {}
        return cls(spec, table, getattr(processor, "mask_token", None))

    def __call__(self, text: str, rng: np.random.Generator, others: Sequence[str] = ()) -> str:
        """A random wording of `text`, which is returned as it is where nothing is changed. It is never empty.

        Args:
            text: the text.
            rng: draws every random number.
            others: the other wordings of the row.
        """
        spec = self.spec
        if spec.words_them_anew and others and rng.random() < spec.alternative:
            text = others[int(rng.integers(len(others)))]
        words = text.split()
        if spec.replaces_words:
            words = _replaced(words, self.table, spec.synonym, rng)
        if spec.word_swap and len(words) > 1:
            for _ in range(max(1, round(spec.word_swap * len(words)))):
                one, two = rng.choice(len(words), 2, replace=False)
                words[one], words[two] = words[two], words[one]
        if spec.word_dropout and words:
            stays = rng.random(len(words)) >= spec.word_dropout
            stays[int(rng.integers(len(words)))] |= not stays.any()
            words = [word for word, kept in zip(words, stays, strict=True) if kept]
        if spec.span_share:
            for _ in range(spec.span_masks):
                words = _hidden(words, spec, rng, self.mask)
        return " ".join(words) if words != text.split() else text


def _replaced(words: list[str], table: Synonyms, share: float, rng: np.random.Generator) -> list[str]:
    out = []
    for word in words:
        found = _WORD.match(word)
        assert found is not None  # it matches everything
        before, inside, after = found.groups()
        others = table.get(inside.lower(), ())
        if others and rng.random() < share:
            other = others[int(rng.integers(len(others)))]
            inside = other[:1].upper() + other[1:] if inside[:1].isupper() else other
        out.append(before + inside + after)
    return out


def _hidden(words: list[str], spec: TextAugment, rng: np.random.Generator, mask: str | None) -> list[str]:
    """The words with a span of them hidden; one word at least is left to be read."""
    removes = spec.span_as == "nothing"
    most = min(max(1, round(spec.span_share * len(words))), len(words) - 1)
    if most < 1:
        return words
    length = int(rng.integers(1, most, endpoint=True))
    start = int(rng.integers(0, len(words) - length, endpoint=True))
    if not removes and mask is None:
        raise ValueError("span_masks: no mask token was given")
    found = [*words[:start], *([] if removes or mask is None else [mask]), *words[start + length :]]
    return found if any(word != mask for word in found) else words


def read_synonyms(path: Path) -> Synonyms:
    """A table of synonyms: a YAML mapping of words to lists of words, or, as `.tsv`, a word and its synonyms a line.

    Words are looked up in lower case; a synonym may be several words.

    Raises:
        UserError: no such file, no such table, a word of several words, a word without a synonym, or one given twice.

    Example:
        read_synonyms(Path("synonyms.yaml"))["lights"]  # ("lamps", "lighting")
    """
    rows = _tsv_rows(path) if path.suffix.lower() == ".tsv" else _yaml_rows(path)
    table: dict[str, tuple[str, ...]] = {}
    for where, word, others in rows:
        name = f"{path}: {where}"
        if not word or len(word.split()) != 1:
            raise UserError(f"{name}: {word!r} is not one word, and words are looked up one by one; take it out")
        if not others or not all(other.strip() for other in others):
            raise UserError(f"{name}: {word!r} has {'an empty' if others else 'no'} synonym; give it some")
        if word.lower() in table:
            raise UserError(f"{name}: {word!r} is given twice; put its synonyms together (upper case is no difference)")
        table[word.lower()] = tuple(" ".join(other.split()) for other in others)
    if not table:
        raise UserError(f"{path}: empty, expected a table of synonyms; fill it, or leave augment.synonyms out")
    return table


def _tsv_rows(path: Path) -> list[tuple[str, str, list[str]]]:
    try:
        lines = split_lines(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise no_such_file(path) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text: {error}; restore it") from None
    numbered = ((number, line.split("\t")) for number, line in enumerate(lines, start=1) if line.strip())
    return [(f"line {number}", word.strip(), others) for number, (word, *others) in numbered]


def _yaml_rows(path: Path) -> list[tuple[str, str, list[str]]]:
    rows = []
    for word, others in read_mapping(path, "a table of synonyms, word: [others]").items():
        given = others if isinstance(others, list) else [others]
        if not isinstance(word, str) or not all(isinstance(other, str) for other in given):
            raise UserError(f"{path}: {word!r}: found {others!r}, expected text; put quotes around numbers")
        rows.append((repr(word), word, given))
    return rows
