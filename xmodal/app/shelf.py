"""What the page searches: items embedded before, those of them that it may show, and the way from a hit to a card.

Input: an embeddings file of `xmodal embed` and the model that made it. Output: `Card`s with a thumbnail, the address of
a player, or a text. Nothing outside the folder that was embedded is ever shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from xmodal.app.models import Model
from xmodal.app.recordings import without_folder
from xmodal.encoding.encoder import Encoder
from xmodal.errors import UserError
from xmodal.evaluation.embeddings.export import EmbeddedItems
from xmodal.evaluation.embeddings.hit_media import inside, thumbnail
from xmodal.evaluation.embeddings.search import Hit, SearchIndex, open_search, require_same_model

ADDRESS = "/gradio_api/file="  # where the server hands out files of the folders it was allowed


@dataclass(frozen=True)
class Card:
    """A hit as the page shows it."""

    name: str
    score: float
    picture: str | None = None  # JPEG, base64
    sound: str | None = None  # address of the file


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

    @property
    def folders(self) -> list[str]:
        """What the server must be allowed to hand out: the folder, where its items are played."""
        return [str(self.root)] if self.kind == "audio" and self.root.is_dir() else []

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
        source = inside(hit.value, self.root)
        if source is None:
            return Card(hit.id, hit.score)
        if self.kind == "image":
            return Card(hit.id, hit.score, picture=thumbnail(source))
        played = isinstance(source, Path) and source.is_file()
        return Card(hit.id, hit.score, sound=ADDRESS + quote(str(source)) if played else None)


def open_shelf(path: Path) -> Shelf:
    """Read an embeddings file, and the index beside it.

    Raises:
        UserError: not one of `xmodal embed`; one made over the whole disk.

    Example:
        open_shelf(Path("photos.parquet")).root  # PosixPath("/home/me/photos")
    """
    index = open_search(path)
    root = Path(index.embedded.info["root"]).resolve()
    if root == Path(root.anchor):
        raise UserError(f"{path}: made over {root}, and the page would hand out all of it; embed a smaller folder")
    return Shelf(index, root)


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
