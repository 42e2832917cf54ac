"""A query over stored embeddings: the items nearest to a text, or to an image or a sound.

Input: `EmbeddedItems`, the model that made them, a query. Output: hits, best first; as one HTML page with pictures.
"""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xmodal.data.image import ImageError, read_image
from xmodal.encoding.encoder import Encoder, Item
from xmodal.errors import UserError
from xmodal.evaluation.embeddings.export import EmbeddedItems
from xmodal.evaluation.test_sets.item_sources import item_source
from xmodal.report import render

MARK = b'content="xmodal search"'  # in a page of hits
THUMBNAIL = (360, 360)  # pixels, the largest picture on the page


@dataclass(frozen=True)
class Hit:
    """An item and its cosine with the query; `value` is its text, or its path under the embeddings' root."""

    id: str
    score: float
    value: str | None


def search(embedded: EmbeddedItems, encoder: Encoder, query: str, modality: str = "text", k: int = 10) -> list[Hit]:
    """The k nearest items, best first; of equals the earlier one.

    Args:
        embedded: what to search.
        encoder: the model that made them.
        query: a text, or the path of an image or a sound, by what `modality` is.
        modality: of the query.
        k: hits; all items where there are fewer.

    Raises:
        UserError: embeddings of another model, no such modality, a query that is empty or cannot be read.

    Example:
        search(read_embeddings(Path("photos.parquet")), encoder, "a dog on a beach")[0].id
    """
    if k < 1:
        raise UserError(f"search: {k} hits asked for, expected 1 or more")
    is_text = encoder.kind(modality) == "text"
    if not query.strip():
        raise UserError("search: an empty query; say what to look for")
    require_same_model(embedded, encoder)
    item: Item = query if is_text else Path(query)
    [z] = encoder.encode(modality, [item]).numpy()
    scores = embedded.z @ z
    best = np.argsort(-scores, kind="stable")[:k]
    return [Hit(embedded.ids[i], float(scores[i]), embedded.values[i]) for i in best]


def require_same_model(embedded: EmbeddedItems, encoder: Encoder) -> None:
    """Raise `UserError` unless the encoder would make the same embeddings: equal weights and preprocessing."""
    modality = embedded.info["modality"]
    same = modality in encoder.towers and embedded.info["fingerprint"] == encoder.fingerprint(modality)
    if not same:
        raise UserError(
            f"search: the embeddings were made by {embedded.info['model']} ({modality}), not by {encoder.name}: "
            "other weights or preprocessing; search with that model, or make them again with xmodal embed"
        )


def check_page(path: Path) -> None:
    """Raise `UserError` where a page of hits would take the place of another's file."""
    if path.suffix != ".html":
        raise UserError(f"--html: {path}: expected a name that ends in .html")
    if path.exists() and (path.is_dir() or MARK not in path.read_bytes()[:2000]):
        raise UserError(f"--html: {path}: in the way, and no page of hits; choose another name, or move it")


def page(embedded: EmbeddedItems, hits: list[Hit], query: str, query_kind: str = "text") -> str:
    """The hits as one HTML page that needs nothing else; pictures where items (or the query) are images."""
    return render.page(
        "search.html.j2",
        query=query,
        query_picture=thumbnail(Path(query)) if query_kind == "image" else None,
        hits=[_card(embedded, number, hit) for number, hit in enumerate(hits, start=1)],
        pictures=embedded.info["kind"] == "image",
        model=embedded.info["model"],
        total=len(embedded.ids),
    )


def _card(embedded: EmbeddedItems, number: int, hit: Hit) -> dict[str, Any]:
    picture = None
    if embedded.info["kind"] == "image" and hit.value is not None:
        picture = thumbnail(item_source(hit.value, Path(embedded.info["root"])))
    name = hit.value if embedded.info["kind"] == "text" else hit.id
    return {"number": number, "name": name, "score": f"{hit.score:.3f}", "picture": picture}


def thumbnail(source: str | Path | bytes) -> str | None:
    """A small JPEG in base64; None for an image that is gone or broken."""
    try:
        image = read_image(source)
    except ImageError:
        return None
    image.thumbnail(THUMBNAIL)
    small = io.BytesIO()
    image.save(small, format="JPEG", quality=85)
    return base64.b64encode(small.getvalue()).decode("ascii")
