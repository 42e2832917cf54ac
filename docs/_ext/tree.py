"""The tree of the repository, a line a file, made of the first line of each: `python docs/_ext/tree.py` prints it.

Input: the folders named in `SHOWN`. Output: for the site the directive `{tree}`, for a terminal the same as text.
"""

import ast
import re
from collections.abc import Iterator
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


def tree_lines(root: Path = ROOT) -> Iterator[str]:
    """The tree, a line for each file and folder of `SHOWN`."""
    for name, depth in SHOWN.items():
        if (root / name).is_dir():
            yield from _lines(root / name, depth, 0)


def _lines(path: Path, depth: int, level: int) -> Iterator[str]:
    name = "  " * level + path.name + "/" * path.is_dir()
    yield f"{name:{WIDTH}}  {first_line(path)}".rstrip()
    if path.is_dir() and depth:
        inside = sorted(path.iterdir(), key=lambda p: (p.is_dir(), p.name))
        for each in inside:
            if not HIDDEN.search(each.name) and (
                each.is_dir() or each.suffix in (".py", ".yaml", ".md", ".sh", ".ipynb")
            ):
                yield from _lines(each, depth - 1, level + 1)


class Tree(SphinxDirective):
    """`{tree}`: the tree as a block."""

    def run(self) -> list[nodes.Node]:
        """The block."""
        text = "\n".join(tree_lines())
        return [nodes.literal_block(text, text, language="none")]


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls."""
    app.add_directive("tree", Tree)
    return {"parallel_read_safe": True}


if __name__ == "__main__":
    print("\n".join(tree_lines()))  # noqa: T201
