"""The tree of the repository, a line a file, made of the first line of each: `python docs/_ext/tree.py` prints it.

Input: the folders named in `SHOWN`. Output: for the site the directive `{tree}`, for a terminal the same as text.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parents[2]
SHOWN = {  # folder -> how many levels of it have lines of their own
    "xmodal": 9,
    "configs": 9,
    "data_prep": 1,
    "eval": 1,
    "benchmarks": 1,
    "examples": 1,
    "docs": 1,
    "tests": 1,
}
HIDDEN = re.compile(r"__pycache__|\.egg-info|^_build$|^results$|^\.|^__init__\.py$|^_static$")
ENDINGS = (".py", ".yaml", ".md", ".sh", ".ipynb")
WIDTH = 34  # columns before what a file is for


def first_line(path: Path) -> str:
    """What a file says of itself first; a folder by its `__init__.py` or README; "" where nothing is said."""
    if path.is_dir():
        return next((first_line(path / name) for name in ("__init__.py", "README.md") if (path / name).is_file()), "")
    if path.suffix == ".py":
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        return doc.partition("\n\n")[0].replace("\n", " ").strip()
    if path.suffix in (".yaml", ".sh", ".ini"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("#") and not line.startswith("#!"):
                return line.lstrip("# ").strip()
            if line and not line.startswith("#"):
                break
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ").strip()
    return ""


@dataclass(frozen=True)
class Entry:
    """A file or folder of the tree."""

    name: str
    about: str
    inside: tuple["Entry", ...]


def tree(root: Path = ROOT) -> list[Entry]:
    """An entry for each folder of `SHOWN` that is there."""
    return [_entry(root / name, depth) for name, depth in SHOWN.items() if (root / name).is_dir()]


def _entry(path: Path, depth: int) -> Entry:
    inside = sorted(path.iterdir(), key=lambda p: (p.is_dir(), p.name)) if path.is_dir() and depth else []
    shown = [p for p in inside if not HIDDEN.search(p.name) and (p.is_dir() or p.suffix in ENDINGS)]
    return Entry(path.name + "/" * path.is_dir(), first_line(path), tuple(_entry(p, depth - 1) for p in shown))


def lines(entries: Iterable[Entry], level: int = 0) -> Iterator[str]:
    """The tree as text, for a terminal."""
    for entry in entries:
        yield f"{'  ' * level + entry.name:{WIDTH}}  {entry.about}".rstrip()
        yield from lines(entry.inside, level + 1)


def as_list(entries: Iterable[Entry]) -> nodes.bullet_list:
    """The tree as lists within lists, for a page."""
    made = nodes.bullet_list()
    for entry in entries:
        words = nodes.paragraph("", "", nodes.literal(text=entry.name))
        for n, part in enumerate(f"  {entry.about}".split("`")):  # code in backticks stays code
            words += nodes.literal(text=part) if n % 2 else nodes.Text(part)
        item = nodes.list_item("", words)
        if entry.inside:
            item += as_list(entry.inside)
        made += item
    return made


class Tree(SphinxDirective):
    """`{tree}`: the tree as lists."""

    def run(self) -> list[nodes.Node]:
        """The lists."""
        return [as_list(tree())]


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls."""
    app.add_directive("tree", Tree)
    return {"parallel_read_safe": True}


if __name__ == "__main__":
    print("\n".join(lines(tree())))  # noqa: T201
