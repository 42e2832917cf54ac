"""Answers as one HTML page that needs nothing else: thumbnails of pictures, players of recordings, texts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xmodal.errors import UserError
from xmodal.evaluation.embeddings.columns import Condition
from xmodal.evaluation.embeddings.export import EmbeddedItems
from xmodal.evaluation.embeddings.hit_media import GONE, SIDE, Budget, hit_medium
from xmodal.evaluation.embeddings.search import Answer, Hit
from xmodal.evaluation.shown import Shown, shown
from xmodal.report import render

MARK = b'content="xmodal search"'  # in a page of hits


def check_page(path: Path) -> None:
    """Raise `UserError` where a page of hits would take the place of another's file."""
    if path.suffix != ".html":
        raise UserError(f"--html: {path}: expected a name that ends in .html")
    if path.is_symlink() and not path.exists():
        raise UserError(f"--html: {path}: in the way, a link to nothing; choose another name, or remove it")
    if path.exists() and (path.is_dir() or MARK not in path.read_bytes()[:2000]):
        raise UserError(f"--html: {path}: in the way, and no page of hits; choose another name, or move it")


def page(
    embedded: EmbeddedItems, answers: Sequence[Answer], where: Sequence[Condition] = (), budget: Budget | None = None
) -> str:
    """The answers as HTML; pictures and recordings are in it while `budget` lasts, which counts those that are not.

    Example:
        budget = Budget()
        write_text(Path("hits.html"), page(embedded, [answer], budget=budget))
        budget.line()  # pictures or recordings that are not on it, and why
    """
    budget = budget or Budget()
    return render.page(
        "search.html.j2",
        title=_shown(answers[0].query) if len(answers) == 1 else f"{len(answers)} queries",
        answers=[
            {
                "query": _shown(answer.query),
                "medium": _query_medium(answer, budget),
                "kind": answer.kind,
                "hits": [_card(embedded, number, hit, budget) for number, hit in enumerate(answer.hits, start=1)],
                "searched": answer.searched,
                "exact": answer.exact,
            }
            for answer in answers
        ],
        kind=embedded.kind,
        where=[str(condition) for condition in where],
        model=embedded.info["model"],
        total=len(embedded.ids),
    )


def _shown(query: str) -> str:
    """A query as a page can hold it: ? where the name of a file is not UTF-8."""
    return query.encode(errors="replace").decode()


def _query_medium(answer: Answer, budget: Budget) -> Shown | None:
    return None if answer.kind == "text" else budget.take(shown(answer.kind, Path(answer.query), SIDE) or GONE)


def _card(embedded: EmbeddedItems, number: int, hit: Hit, budget: Budget) -> dict[str, Any]:
    medium = None
    if embedded.kind != "text":
        medium = budget.take(hit_medium(embedded.kind, hit.value, Path(embedded.info["root"])))
    name = hit.value if embedded.kind == "text" else hit.id
    return {"number": number, "name": name, "score": f"{hit.score:.3f}", "medium": medium}
