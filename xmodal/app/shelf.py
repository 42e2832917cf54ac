"""What the page searches: items embedded before, those of them that it may show, and the way from a hit to a card.

Input: an embeddings file of `xmodal embed` and the model that made it. Output: `Card`s with a thumbnail, the address of
a player, or a text. Nothing outside the folder that was embedded is ever shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from xmodal.app.models import Model
from xmodal.app.recordings import without_folder
from xmodal.data.sources.tar_address import file_of, is_address
from xmodal.encoding.encoder import Encoder
from xmodal.errors import UserError
from xmodal.evaluation.embeddings.export import EmbeddedItems, read_embeddings
from xmodal.evaluation.embeddings.search import Hit, require_same_model, search, thumbnail
from xmodal.evaluation.test_sets.item_sources import item_source

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
    """Embedded items and the folder they lie in."""

    embedded: EmbeddedItems
    root: Path

    @property
    def kind(self) -> str:
        """Of the items: text, audio or image."""
        return str(self.embedded.info["kind"])

    def __len__(self) -> int:
        return len(self.embedded.ids)

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
            hits = search(self.embedded, encoder, str(query), side, k)
        except UserError as error:
            told = without_folder(str(error), query) if isinstance(query, Path) else str(error)
            raise UserError(told.removeprefix(f"{side}: ").removeprefix("search: ")) from None
        return [self._card(hit) for hit in hits]

    def _card(self, hit: Hit) -> Card:
        if self.kind == "text":
            return Card(hit.value or hit.id, hit.score)
        source = self._inside(hit.value)
        if source is None:
            return Card(hit.id, hit.score)
        if self.kind == "image":
            return Card(hit.id, hit.score, picture=thumbnail(source))
        played = isinstance(source, Path) and source.is_file()
        return Card(hit.id, hit.score, sound=ADDRESS + quote(str(source)) if played else None)

    def _inside(self, value: str | None) -> str | Path | None:
        """The item where it is; None of one outside the folder, by its path or by a link."""
        if value is None:
            return None
        source: Any = item_source(value, self.root)
        file = Path(file_of(source)) if is_address(str(source)) else source
        return source if file.resolve().is_relative_to(self.root) else None


def open_shelf(path: Path) -> Shelf:
    """Read an embeddings file.

    Raises:
        UserError: not one of `xmodal embed`; one made over the whole disk.

    Example:
        open_shelf(Path("photos.parquet")).root  # PosixPath("/home/me/photos")
    """
    embedded = read_embeddings(path)
    root = Path(embedded.info["root"]).resolve()
    if root == Path(root.anchor):
        raise UserError(f"{path}: made over {root}, and the page would hand out all of it; embed a smaller folder")
    return Shelf(embedded, root)


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
