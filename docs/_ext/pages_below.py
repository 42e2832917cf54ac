"""A folder's README.md has the pages below it as chapters, without a line in it that GitHub would show as code."""

from sphinx.application import Sphinx


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    if name.endswith("/README"):
        source[0] += "\n\n```{toctree}\n:hidden:\n:glob:\n\n*/*\n```\n"


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
