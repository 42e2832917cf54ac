"""Docstrings of this package, plain text with backticks and Google's sections, as reStructuredText for autodoc.

Input: the lines of a docstring. Output: the same in which nothing has a meaning by accident: code in
backticks is code, `Args:` and `Raises:` are fields, examples and aligned columns are blocks as they stand, and every
other sign is itself.
"""

import inspect
import re
from typing import Any

from pydantic import BaseModel
from sphinx.application import Sphinx

FIELDS = {"Args:": "param", "Raises:": "raises"}
BLOCKS = {"Example:": "Example", "Examples:": "Example"}
SECTION = re.compile(r"(Args|Raises|Returns|Yields|Examples?):(.*)")
COLUMNS = re.compile(r"\S {3,}\S")
SPECIAL = re.compile(r"([\\*_|`])")


def to_rst(lines: list[str]) -> list[str]:
    """A whole docstring, already without its margin.

    Example:
        to_rst(["The `x` of a_b."])  # ["The ``x`` of a\\_b."]
    """
    made: list[str] = []
    for title, body in _sections(lines):
        if title in FIELDS:
            made += _fields(FIELDS[title], body)
        elif title in BLOCKS:
            made += ["", f".. rubric:: {BLOCKS[title]}", "", *_code(body, "python")]
        elif title:
            made += ["", f":{title.lower()} {_prose(' '.join(line.strip() for line in body))}"]
        else:
            made += _text(body)
    return made


def _sections(lines: list[str]) -> list[tuple[str, list[str]]]:
    found: list[tuple[str, list[str]]] = [("", [])]
    for line in lines:
        heading = SECTION.fullmatch(line)
        if heading:
            found.append((f"{heading[1]}:", [f"    {heading[2].strip()}"] if heading[2].strip() else []))
        elif found[-1][0] and line and not line.startswith(" "):  # a section ends where the margin is reached again
            found.append(("", [line]))
        else:
            found[-1][1].append(line)
    return [(title.removesuffix(":") if title in ("Returns:", "Yields:") else title, body) for title, body in found]


def _fields(role: str, body: list[str]) -> list[str]:
    """`name: what it is`, each with lines of its own further in."""
    items: list[str] = []
    margin = min((len(line) - len(line.lstrip()) for line in body if line.strip()), default=0)
    for line in filter(str.strip, body):
        if len(line) - len(line.lstrip()) == margin:
            items.append(line.strip())
        elif items:
            items[-1] += f" {line.strip()}"
    made = [""]
    for item in items:
        name, colon, what = item.partition(":")
        made += [f":{role} {name.strip('`*')}: {_prose(what.strip() if colon else '')}"]
    return [*made, ""]


def _text(body: list[str]) -> list[str]:
    """Paragraphs and lists; what is indented, or stands in columns, is a block as it stands."""
    made: list[str] = []
    for paragraph in _paragraphs(body):
        lists = paragraph[0].lstrip().startswith(("- ", "* "))
        columns = sum(bool(COLUMNS.search(line)) for line in paragraph)
        if paragraph[0].startswith("    ") or (columns and columns * 2 >= len(paragraph)):
            made += ["", *_code(paragraph, "none")]
        elif lists:
            made += ["", *(_item(line) for line in paragraph)]
        else:
            made += ["", *(_prose("\n".join(paragraph)).split("\n"))]
    return [*made, ""]


def _paragraphs(body: list[str]) -> list[list[str]]:
    """Lines between empty ones; a change to or from an indented block, and the first item of a list, begin another."""
    found: list[list[str]] = [[]]
    for line in body:
        block, was = line.startswith("    "), bool(found[-1]) and found[-1][0].startswith("    ")
        first_item = line.startswith("- ") and bool(found[-1]) and not found[-1][0].startswith("- ")
        if not line.strip():
            found.append([])
        elif found[-1] and (block != was or first_item):
            found.append([line])
        else:
            found[-1].append(line)
    return list(filter(None, found))


def _item(line: str) -> str:
    text = line.lstrip()
    return f"- {_prose(text[2:])}" if text.startswith(("- ", "* ")) else f"  {_prose(text)}"


def _code(lines: list[str], language: str) -> list[str]:
    code = inspect.cleandoc("\n".join(["", *lines])).split("\n")
    return [f".. code-block:: {language}", "", *(f"   {line}" for line in code), ""]


def _prose(text: str) -> str:
    """Code in backticks stays code; every other sign of reStructuredText loses its meaning."""
    parts = re.split(r"(`+[^`]+`+)", text)
    made = ""
    for number, part in enumerate(parts):
        if number % 2 == 0:
            made += SPECIAL.sub(r"\\\1", part)
        else:
            code = " ".join(part.strip("`").split())
            before = "\\ " if made and not made[-1].isspace() else ""
            made += f"{before}``{code}``\\ "
    return re.sub(r"``\\ (\s|$)", r"``\1", made)


def _docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = to_rst(lines)


def _signature(app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str, returns: str) -> Any:
    """Settings of a pydantic model as `key=default`: types and limits would hide them."""
    if not (what == "class" and isinstance(obj, type) and issubclass(obj, BaseModel)):
        return None
    shown = []
    for key, field in obj.model_fields.items():
        default = field.get_default(call_default_factory=not _takes_data(field.default_factory))
        shown.append(key if field.is_required() else f"{key}={_short(default)}")
    return f"({', '.join(shown)})", None


def _skip(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """What pydantic gives to every model says nothing of this one."""
    return True if name.startswith("model_") else None


def _takes_data(factory: Any) -> bool:
    return factory is not None and not isinstance(factory, type) and bool(inspect.signature(factory).parameters)


def _short(value: Any) -> str:
    return f"{type(value).__name__}()" if isinstance(value, BaseModel) else repr(value)


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls."""
    app.connect("autodoc-process-docstring", _docstring)
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True}
