"""What an encoder gives of a side that never changes is made once, however often a run is evaluated."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from xmodal.encoding.encoder import Encoder

T = TypeVar("T")


class Memo:
    """Remembers by name what was made with the last encoder, where its side is fixed (a locked tower without a head).

    Example:
        memo = Memo()
        vectors = memo.of(encoder, "text", "classes", lambda: class_vectors(encoder, "text", prompts))
    """

    def __init__(self) -> None:
        self._found: dict[str, tuple[Encoder, Any]] = {}

    def of(self, encoder: Encoder, side: str, name: str, make: Callable[[], T]) -> T:
        """`make()`, or what it gave before with this encoder where nothing of `side` can have changed."""
        before = self._found.get(name)
        if before is not None and before[0] is encoder:
            found: T = before[1]
            return found
        self._found.pop(name, None)
        made = make()
        if encoder.is_fixed(side):
            self._found[name] = encoder, made
        return made
