"""Which splits a corpus has, said beside the function that prepares it."""

from collections.abc import Callable
from typing import Any, TypeVar

from xmodal.config.kinds import CORPORA

Prepare = TypeVar("Prepare", bound=Callable[..., Any])


def has_splits(*names: str) -> Callable[[Prepare], Prepare]:
    """Marks a function that prepares a corpus as taking `splits`, the ones to prepare out of these.

    Example:
        @has_splits("train", "val")
        def prepare(root, out, limit=None, splits=()): ...
    """

    def marked(prepare: Prepare) -> Prepare:
        vars(prepare)["splits"] = names
        return prepare

    return marked


def splits_of(corpus: str) -> tuple[str, ...]:
    """The splits to choose from; none where a corpus has no such choice.

    Raises:
        UserError: no such corpus (see `Registry.find`).

    Example:
        splits_of("coco")  # ("train", "val")
    """
    return tuple(getattr(CORPORA.find(corpus), "splits", ()))
