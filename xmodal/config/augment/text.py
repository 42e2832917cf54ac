"""Augmentation of texts."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from xmodal.config.augment.amounts import Augment
from xmodal.config.spec import Share


class TextAugment(Augment):
    """Other wordings of a text, training only; every amount 0 is off (see `xmodal/data/views/text.py`).

    A live tower reads a new one in every epoch; a store of several `views` holds the text and some wordings of it.
    """

    alternatives: str | None = None  # a column with other wordings of the row's text: a string, or a list of them
    alternative: Share = 0.5  # probability of taking one of them
    synonyms: Path | None = None  # a YAML file, word: [others]; or a .tsv one, the word and the others on a line
    synonym: Share = 0.1  # probability of each word in it of being replaced
    word_dropout: Share = 0.0  # probability of each word of being left out; one stays
    word_swap: Share = 0.0  # swaps of two words, as a share of the words
    span_masks: int = Field(0, ge=0)  # spans of words that are hidden
    span_share: Share = 0.15  # of the words, the longest span
    span_as: Literal["mask", "nothing"] = "mask"  # what stands in its place: one mask token of the tower's, or nothing

    @property
    def is_active(self) -> bool:
        """Does this change anything?"""
        amounts = (self.word_dropout, self.word_swap, self.span_masks * self.span_share)
        return bool(self.words_them_anew or self.replaces_words or any(amounts))

    @property
    def words_them_anew(self) -> bool:
        """Are other wordings of the manifest taken?"""
        return self.alternatives is not None and self.alternative > 0

    @property
    def replaces_words(self) -> bool:
        """Are words replaced by their synonyms?"""
        return self.synonyms is not None and self.synonym > 0

    @property
    def needs_mask(self) -> bool:
        """Must the tower's tokenizer have a mask token?"""
        return self.span_masks > 0 and self.span_share > 0 and self.span_as == "mask"

    @model_validator(mode="after")
    def _sources(self) -> Self:
        for name, amount in (("synonyms", "synonym"), ("alternatives", "alternative")):
            given = getattr(self, amount)
            if getattr(self, name) is None and given != type(self).model_fields[amount].default:
                raise ValueError(f"{amount} {given:g}: there are none; set {name} beside it")
        return self
