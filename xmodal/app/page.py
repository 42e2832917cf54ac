"""The page: a tab for each thing the models can do, the answer beside what was asked.

Input: one or several `Model`s, and a `Shelf` to search. Output: gradio's `Blocks`, not yet served (`serving.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio

from xmodal.app import markup
from xmodal.app.models import Model
from xmodal.app.ranking import phrases_of, rank
from xmodal.app.recordings import require_short
from xmodal.app.shelf import Shelf
from xmodal.app.tasks import Task, counterpart
from xmodal.errors import UserError

HITS = 12
QUEUE = "models"  # one question at a time: encoders are not made for several threads
NAMES, SENTENCES = "names of things", "whole sentences"
STARTERS = {  # what is typed when the page opens
    "speech": "turn on the lights\nplay some music\nwhat is the weather like\nset an alarm\nstop",
    "audio": "dog bark\nrain\nclock tick\nrooster\nhelicopter",
    "image": "dog\ncat\ncar\nship\nhouse",
}
ASKS = {"audio": "Speak into the microphone or upload a recording", "image": "Drop a picture"}


def build_page(models: Sequence[Model], shelf: Shelf | None = None, searchers: Sequence[Model] = ()) -> Any:
    """The page as gradio `Blocks`.

    Args:
        models: one, or several to compare.
        shelf: items to search.
        searchers: those of the models that made the shelf's embeddings; the first one searches.

    Example:
        build_page(load_models(["runs/demo"]))
    """
    title = " and ".join(model.name for model in models)
    tasks = distinct_tasks(models)
    with gradio.Blocks(title=f"xmodal: {title}", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gradio.HTML(markup.head(title, _invitation(tasks, shelf, len(models)), _cautions(models)))
        with gradio.Tabs():
            for task in tasks:
                _add_ranking(task, models)
            if shelf is not None and searchers:
                _add_search(shelf, searchers[0])
    return page


def distinct_tasks(models: Sequence[Model]) -> list[Task]:
    """What can be asked of any of the models, each thing once."""
    found: list[Task] = []
    for model in models:
        for task in model.tasks:
            if counterpart(task, found) is None or model is models[0]:
                found.append(task)
    return found


def _add_ranking(task: Task, models: Sequence[Model]) -> None:
    is_image = task.kind == "image"
    with gradio.Tab(task.title), gradio.Row(elem_classes="xm-grid"):
        with gradio.Column(elem_classes="xm-item"):
            item = _picture() if is_image else _recording()
        with gradio.Column(elem_classes="xm-typed"):
            typed = gradio.Textbox(
                STARTERS.get(task.side) or STARTERS[task.kind],
                label="What it may show, one a line" if is_image else "What it may mean, one a line",
                lines=6,
                max_lines=14,
                max_length=50_000,
            )
            form = gradio.Radio([NAMES, SENTENCES], value=NAMES, label="These are", visible=is_image)
            button = gradio.Button("Rank them", variant="primary")
        names = [model.name if len(models) > 1 else None for model in models]
        empty = f"{ASKS[task.kind]}. The answer appears here."
        with gradio.Column(elem_classes="xm-out"):
            with gradio.Row(elem_classes="xm-answers"):
                answers = [gradio.HTML(markup.waiting(empty, name)) for name in names]
            gradio.HTML(markup.aside(markup.SCORES))

    def ask(file: str | None, lines: str, as_what: str) -> Any:
        if file is None:
            shown = [markup.waiting(empty, name) for name in names]
        else:
            asked = Path(file), lines, as_what == SENTENCES
            shown = [_answer(model, task, name, *asked) for model, name in zip(models, names, strict=True)]
        return shown if len(shown) > 1 else shown[0]

    gradio.on([item.change, button.click, form.change], ask, [item, typed, form], answers, **_private())


def _answer(model: Model, task: Task, name: str | None, item: Path, lines: str, whole_sentences: bool) -> str:
    own = counterpart(task, model.tasks)
    if own is None:
        return markup.waiting(f"This model knows no {task.title.lower()}.", name)
    try:
        return markup.answer(rank(model.encoder, own, item, phrases_of(lines), whole_sentences), name)
    except UserError as error:
        return markup.mistake(str(error), name)


def _add_search(shelf: Shelf, model: Model) -> None:
    things = {"text": "texts", "audio": "recordings", "image": "pictures"}[shelf.kind]
    with gradio.Tab("Search"):
        gradio.HTML(markup.aside(f"{len(shelf):,} {things} that {model.name} has embedded"))
        asked: list[tuple[str, Any, Any]] = []  # side, component, its button
        with gradio.Tabs():
            for side, kind in _texts_first(model.encoder.kinds):
                with gradio.Tab(f"By {side}"):
                    asked.append((side, *_query(kind)))
        found = gradio.HTML(markup.waiting("What is found appears here."))
        for side, field, button in asked:
            look = _looker(shelf, model, side)
            triggers = [field.submit if button is not None else field.change]
            triggers += [button.click] if button is not None else []
            gradio.on(triggers, look, [field], [found], **_private())


def _query(kind: str) -> tuple[Any, Any]:
    """The field for a query, and the button beside a text field."""
    if kind == "image":
        return _picture(), None
    if kind == "audio":
        return _recording(), None
    with gradio.Row(elem_classes="xm-ask"):
        field = gradio.Textbox(label="Look for", placeholder="a dog on a beach", max_lines=1, max_length=2000, scale=5)
        return field, gradio.Button("Search", variant="primary", scale=1)


def _looker(shelf: Shelf, model: Model, side: str) -> Callable[[str | None], str]:
    kind = model.encoder.kinds[side]

    def look(query: str | None) -> str:
        if not (query or "").strip() or query is None:
            return markup.waiting("What is found appears here.")
        try:
            if kind == "audio":
                require_short(Path(query))
            return markup.hits(
                shelf.find(model.encoder, side, query if kind == "text" else Path(query), HITS), len(shelf)
            )
        except UserError as error:
            return markup.mistake(str(error))

    return look


def _recording() -> Any:
    field = gradio.Audio(
        sources=["microphone", "upload"],
        type="filepath",
        label="Speak, or upload a recording",
        editable=False,
        buttons=[],
        elem_classes="xm-file",
    )
    return _as_uploaded(field)


def _picture() -> Any:
    field = gradio.Image(
        type="filepath",
        sources=["upload", "clipboard"],
        label="Drop a picture",
        height=300,
        buttons=[],
        elem_classes="xm-file",
    )
    return _as_uploaded(field)


def _as_uploaded(field: Any) -> Any:
    """The field hands out the uploaded file as it is: gradio would decode it first, without a limit."""
    field.preprocess = lambda payload: payload.path if payload is not None else None
    return field


def _private() -> dict[str, Any]:
    """Settings of every event: one at a time over all tabs, for this page alone."""
    return {"concurrency_id": QUEUE, "concurrency_limit": 1, "api_visibility": "private", "show_progress": "minimal"}


def _invitation(tasks: Sequence[Task], shelf: Shelf | None, models: int) -> str:
    parts = list(dict.fromkeys(ASKS[task.kind].lower() for task in tasks))
    asked = ", or ".join(parts)
    line = f"{asked[:1].upper()}{asked[1:]}, type what it may be, and see which is nearest." if asked else ""
    if shelf is not None:
        line += " Search what was embedded before." if line else "Search what was embedded before."
    if models > 1:
        line += " All models are asked the same."
    return f"{line} Nothing leaves this machine."


def _cautions(models: Sequence[Model]) -> list[str]:
    """Each warning once, with the models it is of where there are several."""
    named: dict[str, list[str]] = {}
    for model in models:
        for line in model.cautions:
            named.setdefault(line, []).append(model.name)
    return [f"{', '.join(names)}: {line}" if len(models) > 1 else line for line, names in named.items()]


def _texts_first(kinds: Mapping[str, str]) -> list[tuple[str, str]]:
    return sorted(kinds.items(), key=lambda side: side[1] != "text")
