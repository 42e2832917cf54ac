"""Example sentences of intents: the texts behind class means."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from xmodal.data.manifest import read_manifest
from xmodal.errors import UserError
from xmodal.prompts import bare_words

Examples = Mapping[str, Sequence[str]]  # label -> sentences


def read_examples(path: Path, label: str = "label") -> dict[str, list[str]]:
    """Label -> sentences, of a manifest of `text` and a column of labels (no id needed).

    Raises:
        UserError: what `read_manifest` raises; an empty sentence.
    """
    rows = read_manifest(path, ("text", label), ids=False)
    examples: dict[str, list[str]] = {}
    for number, (text, intent) in enumerate(zip(rows["text"], rows[label], strict=True), start=1):
        if not text.strip():
            raise UserError(f"{path}: row {number}: an empty example of {intent!r}; fill or remove it")
        examples.setdefault(intent, []).append(text)
    return examples


def require_apart(path: Path | None, examples: Examples, tested: Iterable[str]) -> None:
    """Raise `UserError` where an example is also a sentence of the test: class means must not contain the test."""
    known = {bare_words(text) for text in tested}
    for label, sentences in examples.items():
        for sentence in sentences:
            if bare_words(sentence) in known:
                raise UserError(
                    f"{path}: {sentence!r} (intent {label}) is also a test sentence; "
                    "take it out of the examples, class means must not contain the test"
                )
