"""The page's own pieces of HTML: answers, hits, warnings, mistakes.

What users typed, what files are called and what runs say of themselves is escaped.
"""

from collections.abc import Sequence
from html import escape

from xmodal.app.ranking import Ranking
from xmodal.app.shelf import Card

SCORES = "Scores are cosines: 1 means the same, 0 unrelated. One line always comes first, even if none was meant."
SHOWN = 20  # phrases of a ranking; the rest is counted


def answer(ranking: Ranking, model: str | None = None) -> str:
    """The nearest phrase, large, and the ranking under it; `model` names whose answer it is, where there are two.

    Example:
        answer(Ranking((("lights on", 0.61), ("play music", 0.2))))
    """
    best, score = ranking.scores[0]
    ahead = "" if ranking.lead is None else f", {ranking.lead:.3f} ahead of the next one"
    rest = len(ranking.scores) - SHOWN
    return _block(
        model,
        f'<p class="xm-best">{escape(best)}</p><p class="xm-soft">score {score:.3f}{ahead}</p>'
        + "".join(f'<p class="xm-note">{escape(note)}</p>' for note in ranking.notes)
        + '<ol class="xm-ranking">'
        + "".join(_row(phrase, value) for phrase, value in ranking.scores[:SHOWN])
        + "</ol>"
        + (f'<p class="xm-soft">and {rest} more, farther away</p>' if rest > 0 else ""),
    )


def waiting(line: str, model: str | None = None) -> str:
    """What stands where the answer will be."""
    return _block(model, f'<p class="xm-waiting">{escape(line)}</p>')


def mistake(line: str, model: str | None = None) -> str:
    """A mistake in one line."""
    return _block(model, f'<p class="xm-mistake" role="alert">{escape(" ".join(line.split()))}</p>')


def hits(cards: Sequence[Card], total: int) -> str:
    """Cards, the nearest first, as a grid: pictures, players, or texts."""
    pictures = " xm-pictures" if any(card.medium and card.medium.is_picture for card in cards) else ""
    return (
        f'<p class="xm-soft">The {len(cards)} nearest of {total:,}, by cosine</p><ol class="xm-hits{pictures}">'
        + "".join(_card(card) for card in cards)
        + "</ol>"
    )


def aside(line: str) -> str:
    """A line in small print."""
    return f'<p class="xm-soft">{escape(line)}</p>'


def head(title: str, line: str, cautions: Sequence[str]) -> str:
    """The top of the page: whose it is, what to do, and what a reader must know first."""
    told = "".join(f"<li>{escape(caution)}</li>" for caution in cautions)
    box = f'<div class="xm-caution"><strong>Before you trust it</strong><ul>{told}</ul></div>' if told else ""
    return f'<header class="xm-head"><h1>{escape(title)}</h1><p>{escape(line)}</p>{box}</header>'


def _block(model: str | None, inner: str) -> str:
    title = f"<h2>{escape(model)}</h2>" if model else ""
    return f'<section class="xm-answer" aria-live="polite">{title}{inner}</section>'


def _row(phrase: str, score: float) -> str:
    share = 100 * min(max(score, 0.0), 1.0)
    return (
        f'<li><span class="xm-phrase">{escape(phrase)}</span><span class="xm-score">{score:.3f}</span>'
        f'<span class="xm-bar"><span style="width:{share:.1f}%"></span></span></li>'
    )


def _card(card: Card) -> str:
    name = escape(card.name, quote=True)
    shown = ""
    if card.medium is not None and card.medium.is_picture:
        shown = f'<img alt="{name}" src="{card.medium.url}">'
    elif card.medium is not None:
        shown = f'<audio controls preload="none" src="{card.medium.url}" aria-label="{name}"></audio>'
    if card.note:
        shown += f'<p class="xm-soft">{escape(card.note)}</p>'
    about = f'<span class="xm-phrase">{name}</span><span class="xm-score">{card.score:.3f}</span>'
    return f"<li>{shown}<div>{about}</div></li>"
