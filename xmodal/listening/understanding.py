"""What an utterance means: an intent among those known by text, the values of its slots, or none of these.

An intent's vector is the mean of its example sentences. A slot's values are told apart by the means of sentences that
say the same otherwise; where an intent may go without the slot, the mean of its sentences without it stands beside
them. Scores are cosines. Axes: n utterances, C labels, D embedding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xmodal.encoding.encoder import Encoder
from xmodal.errors import UserError
from xmodal.evaluation.classification.class_vectors import class_vectors
from xmodal.files import read_json_lines

SETS = "sets.jsonl"  # in a taught run's folder


@dataclass(frozen=True)
class LabelSet:
    """Labels to choose among, and a vector for each."""

    labels: tuple[str, ...]
    vectors: Tensor  # [C, D] unit norm

    def best(self, z: Tensor) -> list[tuple[str, float, float]]:
        """Of each utterance [n, D] the best label, its score and how far the next one is; ties go to the first."""
        scores = z @ self.vectors.T
        found = []
        for row in scores:
            at = int(row.argmax())
            others = torch.cat([row[:at], row[at + 1 :]])
            margin = float(row[at] - others.max()) if len(others) else 0.0
            found.append((self.labels[at], float(row[at]), margin))
        return found

    def only(self, labels: Sequence[str]) -> "LabelSet":
        """Some of the labels, in the order given."""
        return LabelSet(tuple(labels), self.vectors[[self.labels.index(label) for label in labels]])


@dataclass(frozen=True)
class Slot:
    """A slot's values, and for each intent that may go without it, its values beside its absence.

    `absent`: intent -> (the values' vectors in this intent [C, D], the vector of its sentences without the slot [D]).
    """

    values: LabelSet
    intents: frozenset[str] | None  # that use it; None: any
    absent: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def is_in(self, z: Tensor, intent: str) -> bool:
        """Is the slot in an utterance [D] of this intent?"""
        if self.intents is not None and intent not in self.intents:
            return False
        if intent not in self.absent:
            return True
        values, without = self.absent[intent]
        return bool((values @ z).max() > without @ z)


@dataclass(frozen=True)
class Meaning:
    """What was understood of one utterance."""

    intent: str
    score: float
    margin: float  # to the next best intent
    slots: dict[str, tuple[str, float]]  # slot -> (value, score)


@dataclass(frozen=True)
class Understanding:
    """Intents and slots, ready to be compared with embeddings of speech."""

    intents: LabelSet
    slots: Mapping[str, Slot]

    def meanings(self, z: Tensor) -> list[Meaning]:
        """What utterances [n, D] mean; each has an intent, however low its score."""
        found = []
        values = {name: slot.values.best(z) for name, slot in self.slots.items()}
        for at, (intent, score, margin) in enumerate(self.intents.best(z)):
            slots = {name: values[name][at][:2] for name, slot in self.slots.items() if slot.is_in(z[at], intent)}
            found.append(Meaning(intent, score, margin, slots))
        return found


def understanding_of(encoder: Encoder, text: str, rows: Sequence[Mapping[str, Any]]) -> Understanding:
    """Out of example sentences.

    Args:
        encoder: a run's.
        text: its text side.
        rows: of `text`, `slot` (which the text is for; None: the intent), `of` (the intent), and a column for the slot
            (its value; None: the slot is not in it).

    Raises:
        UserError: fewer than two intents.
    """
    intents = _set(encoder, text, [row for row in rows if row["slot"] is None], "of")
    if len(intents.labels) < 2:
        raise UserError(
            f"{len(intents.labels)} intent ({', '.join(intents.labels)}), expected two or more to choose among; add one"
        )
    found: dict[str, Slot] = {}
    for slot in dict.fromkeys(row["slot"] for row in rows if row["slot"] is not None):
        own = [row for row in rows if row["slot"] == slot]
        filled, bare = [row for row in own if row[slot] is not None], [row for row in own if row[slot] is None]
        absent = {}
        for intent in dict.fromkeys(row["of"] for row in bare):
            values = _set(encoder, text, [row for row in filled if row["of"] == intent], slot)
            without = [str(row["text"]) for row in bare if row["of"] == intent]
            absent[intent] = (values.vectors, class_vectors(encoder, text, [without])[0])
        found[slot] = Slot(_set(encoder, text, filled, slot), frozenset(row["of"] for row in filled), absent)
    return Understanding(intents, found)


def read_understanding(encoder: Encoder, text: str, run: Path) -> Understanding:
    """That of a taught run's folder.

    Raises:
        UserError: it was not taught, or its file is damaged.
    """
    rows = read_json_lines(run / SETS, "give --intent or --phrases, or a run of xmodal teach")
    for where, row in rows:
        slot = row.get("slot")
        missing = [key for key in ("text", "of", "slot", *([slot] if slot is not None else [])) if key not in row]
        if missing:
            raise UserError(f"{where}: no {missing[0]}, damaged; teach the run again, or give --intent or --phrases")
    return understanding_of(encoder, text, [row for _, row in rows])


def _set(encoder: Encoder, text: str, rows: Sequence[Mapping[str, Any]], column: str) -> LabelSet:
    groups: dict[str, list[str]] = {}
    for row in rows:
        groups.setdefault(str(row[column]), []).append(str(row["text"]))
    return LabelSet(tuple(groups), class_vectors(encoder, text, list(groups.values())))
