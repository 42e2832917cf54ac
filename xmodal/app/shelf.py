"""What the page searches: items embedded before, those of them that it may show, and the way from a hit to a card.

Input: an embeddings file of `xmodal embed` and the model that made it. Output: `Card`s with a thumbnail, a recording,
or a text. Nothing outside the folder that was embedded is ever shown, and of that folder pictures and recordings alone:
the embeddings file, which says what folder that is and what lies in it, may be somebody else's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xmodal.app.models import Model
from xmodal.app.recordings import without_folder
from xmodal.encoding.encoder import Encoder
from xmodal.errors import UserError
from xmodal.evaluation.embeddings.export import EmbeddedItems
from xmodal.evaluation.embeddings.hit_media import hit_medium, shown_folder
from xmodal.evaluation.embeddings.search import Hit, SearchIndex, open_search, require_same_model
from xmodal.evaluation.shown import Shown


@dataclass(frozen=True)
class Card:
    """A hit as the page shows it."""

    name: str
    score: float
    medium: Shown | None = None  # its picture or recording
    note: str | None = None  # why there is none


@dataclass(frozen=True)
class Shelf:
    """Embedded items, loaded once, and the folder they lie in."""

    index: SearchIndex
    root: Path

    @property
    def embedded(self) -> EmbeddedItems:
        """The items."""
        return self.index.embedded

    @property
    def kind(self) -> str:
        """Of the items: text, audio or image."""
        return self.embedded.kind

    @property
    def notes(self) -> tuple[str, ...]:
        """Why an index that lies beside the embeddings is not used."""
        return self.index.notes

    def __len__(self) -> int:
        return len(self.index)

    def find(self, encoder: Encoder, side: str, query: str | Path, k: int) -> list[Card]:
        """The k items nearest to a text, or to the file of a picture or recording.

        Raises:
            UserError: an empty query, or a file that cannot be read.
        """
        try:
            hits = self.index.query(encoder, str(query), side, k).hits
        except UserError as error:
            told = without_folder(str(error), query) if isinstance(query, Path) else str(error)
            raise UserError(told.removeprefix(f"{side}: ").removeprefix("search: ")) from None
        return [self._card(hit) for hit in hits]

    def _card(self, hit: Hit) -> Card:
        if self.kind == "text":
            return Card(hit.value or hit.id, hit.score)
        found = hit_medium(self.kind, hit.value, self.root)
        if isinstance(found, str):
            return Card(hit.id, hit.score, note=f"not shown: {found}")
        return Card(hit.id, hit.score, found, found.cut or None)


def open_shelf(path: Path) -> Shelf:
    """Read an embeddings file, and the index beside it.

    Raises:
        UserError: not one of `xmodal embed`; one made over the whole disk.

    Example:
        open_shelf(Path("photos.parquet")).root  # PosixPath("/home/me/photos")
    """
    index = open_search(path)
    return Shelf(index, shown_folder(path, index.embedded))


def searchers(shelf: Shelf, models: Sequence[Model]) -> list[Model]:
    """Those of the models that made the embeddings.

    Raises:
        UserError: none did.
    """
    found, first = [], None
    for model in models:
        try:
            require_same_model(shelf.embedded, model.encoder)
        except UserError as error:
            first = first or error
        else:
            found.append(model)
    if not found and first is not None:
        raise first
    return found
