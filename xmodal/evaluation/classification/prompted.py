"""Classification by prompts: a labelled test, classes that are known by name, and templates to say the names in.

What zero-shot classification and spoken intents share: reading, class vectors, embeddings, and what a reader must know.
Class vector: every template filled with the class name, encoded, averaged, normalised. Radford et al. 2021
(2103.00020), section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from xmodal.config.evaluator_spec import EvaluatorSpec
from xmodal.prompts import fill

if TYPE_CHECKING:
    from torch import Tensor

    from xmodal.encoding.encoder import Encoder
    from xmodal.evaluation.cascade.cascade import Cascade
    from xmodal.evaluation.open_set.open_set import OpenSet
    from xmodal.evaluation.test_sets.classes import Classes
    from xmodal.evaluation.test_sets.labelled import LabelledItems


class Encoded(NamedTuple):
    """Embeddings of the items that can be read, these items, their rows in the test, and the others' (row, reason)."""

    z: Tensor  # [m, D] unit norm
    test: LabelledItems  # m items
    rows: list[int]  # [m]
    skipped: list[tuple[int, str]]


class PromptedClassification:
    """A test, its classes and its templates; what scores them derives from it."""

    class Spec(EvaluatorSpec):
        """Which classes, what they are called, and in which sentences."""

        prompts: str = "plain"  # a template set's name, or a YAML or .txt file
        # label -> class name as JSON or YAML; .txt: of the labels 0, 1, ...; or imagenet, for WordNet ids; default:
        # underscores become spaces
        names: Path | None = None
        cluster: str | None = None  # column whose equal values are resampled together
        # do these classes occur in training? Then it is prompted classification, not zero-shot; null: not known
        trained: bool | None = False
        synthetic: bool = False  # the items are synthetic (rendered images, TTS)
        text: str = "text"  # the side of the prompts

    what = "items"  # what notes call the items
    of_synthetic = "the items are synthetic."

    spec: Spec
    modality: str
    templates: list[str]
    classes: Classes
    test: LabelledItems
    cascade: Cascade | None = None
    open_set: OpenSet | None = None

    @property
    def files(self) -> Sequence[Path]:
        """The items that are files of their own."""
        return self.test.files

    @property
    def synthetic(self) -> bool:
        """Are the items synthetic?"""
        return self.spec.synthetic

    def content(self) -> str:
        """A digest of items, labels, candidates and templates."""
        from xmodal.encoding.embedding_cache import digest_of

        test = self.test
        told = [test.names.tolist(), test.labels.tolist(), test.several, test.clusters.tolist(), self.templates]
        told += [part.content() for part in (self.cascade, self.open_set) if part is not None]
        return digest_of(test.sources, [*told, self.classes.labels, self.classes.names, *self._further_content()])

    def _further_content(self) -> Sequence[Any]:
        """What else is under test, for `content`."""
        return ()

    def check(self) -> None:
        """Audio headers are read, files must be there.

        Raises:
            UserError: more than `max_bad` of the items cannot be used; a recogniser that is not there.
        """
        from xmodal.data.unusable import require_usable
        from xmodal.evaluation.test_sets.item_sources import unusable_files

        for items in (self.test, *self._beside()):
            bad = unusable_files(items.files, items.kind)
            require_usable(items.path, len(items), bad, self.spec.max_bad, "the evaluator's max_bad")
        if self.cascade is not None:
            self.cascade.check()

    def _beside(self) -> Sequence[LabelledItems]:
        """Items that are encoded besides those of the test."""
        sets = () if self.open_set is None else (self.open_set.dev, self.open_set.outside)
        return [items for items in sets if len(items)]

    def class_vectors(self, encoder: Encoder) -> Tensor:
        """The classes out of their prompts, [C, D] unit norm."""
        from xmodal.evaluation.classification.class_vectors import class_vectors

        text = self.spec.text
        prompts = [fill(self.templates, name) for name in self.classes.names]
        return encoder.remember(text, (self, "classes"), lambda: class_vectors(encoder, text, prompts))

    def encoded(self, encoder: Encoder, title: str | None, items: LabelledItems | None = None) -> Encoded:
        """The embeddings of the test's items, or of others; `title` stands beside a progress bar.

        Raises:
            UserError: more than `max_bad` of the items cannot be read.
        """
        from xmodal.data.unusable import require_usable

        asked = self.test if items is None else items
        z, rows, skipped = encoder.remember(
            self.modality,
            (self, "items", None if items is None else id(items)),
            lambda: encoder.encode_readable(self.modality, asked.sources, progress=title),
        )
        bad = [(str(asked.names[row]), reason) for row, reason in skipped]
        require_usable(asked.path, len(asked), bad, self.spec.max_bad, "the evaluator's max_bad")
        return Encoded(z, asked.part(rows), rows, skipped)

    def trained(self, encoder: Encoder) -> list[str]:
        """Classes of the test that occur in training, as far as the run's own labels tell, by label or by name."""
        return self.classes.seen(self.test.found(), encoder.trained_labels)

    def unseen(self, *encoders: Encoder) -> bool | None:
        """Is the test zero-shot: do its classes not occur in training? None: nobody has said."""
        if self.spec.trained or any(self.trained(encoder) for encoder in encoders):
            return False
        return None if self.spec.trained is None else True

    def notes(
        self, name: str, skipped: Sequence[tuple[int, str]], *encoders: Encoder, of_run: bool = True
    ) -> list[str]:
        """What a reader must know of the test, and of what could not be read of it (rows and reasons)."""
        spec, notes = self.spec, []
        if self.synthetic:
            notes.append(f"{name}: {self.of_synthetic}")
        if spec.trained:
            notes.append(f"{name}: these classes occur in training: prompted classification, not zero-shot.")
        else:
            for encoder in encoders:
                seen = self.trained(encoder)
                where = f"the training of {encoder.name}" if of_run else "training"
                shown = ", ".join(seen[:3]) + (", ..." if seen[3:] else "")
                if seen:
                    notes.append(
                        f"{name}: {len(seen)} of its classes occur in {where} ({shown}): prompted classification, not "
                        "zero-shot."
                    )
            if self.unseen(*encoders) is None and any(encoder.folder for encoder in encoders):
                notes.append(
                    f"{name}: whether these classes occur in training is not known, so it is not called zero-shot; say "
                    "--trained or --no-trained."
                )
        notes += [f"{name}: {note}" for note in self.classes.notes]
        if skipped:
            notes.append(
                f"{name}: {len(skipped)} of {len(self.test)} {self.what} could not be read and are not scored, the "
                f"first: {skipped[0][1]}"
            )
        return notes


class PromptedRecordings(PromptedClassification):
    """Of speech."""

    what = "recordings"
    of_synthetic = "the speech is synthetic (TTS); it says nothing yet about human speech."
