"""Links from a page to files outside docs/, as GitHub follows them, lead to what the site has of these files.

CONTRIBUTING.md and its like are pages of the site (project/); the tree's other files are shown as code.
"""

import posixpath
import re

from sphinx.application import Sphinx

PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "SECURITY.md": "project/security.md",
}
LINK = re.compile(r"\[([^\]]+)\]\((?!https?://|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")
INCLUDED = re.compile(r"```\{include\} \.\./\.\./(\S+)")


def rewritten(text: str, page: str) -> str:
    """The Markdown of `page` (a path within docs/) with its links out of docs/ led home.

    Example:
        rewritten("[x](../CONTRIBUTING.md#a-tower)", "guide.md")  # "[x](project/contributing.md#a-tower)"
    """
    folder = posixpath.dirname(posixpath.join("docs", page))

    def lead(link: re.Match[str]) -> str:
        words, target, anchor = link[1], link[2], link[3] or ""
        path = posixpath.normpath(posixpath.join(folder, target))
        if path.startswith("docs/"):
            return link[0]
        if path in PAGES:
            return f"[{words}]({posixpath.relpath(posixpath.join('docs', PAGES[path]), folder)}{anchor})"
        return f"{words} (`{path}`)" if words.strip("`") != path else f"`{path}`"

    return LINK.sub(lead, text)


def at_home(text: str, file: str, page: str) -> str:
    """The Markdown of `file` at the root of the tree as it reads in `page`, a page of docs/."""
    folder = posixpath.dirname(posixpath.join("docs", page))

    def move(link: re.Match[str]) -> str:
        return f"[{link[1]}]({posixpath.relpath(link[2], folder)}{link[3] or ''})"

    return rewritten(LINK.sub(move, text), page)


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    page = f"{name}.md"
    whole = INCLUDED.fullmatch(source[0].strip().removesuffix("```").strip())
    if whole:
        text = (app.srcdir.parent / whole[1]).read_text(encoding="utf-8")
        app.env.note_dependency(str(app.srcdir.parent / whole[1]))
        source[0] = at_home(text, whole[1], page)
    else:
        source[0] = rewritten(source[0], page)


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
