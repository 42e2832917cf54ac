"""Docstrings of this package as reStructuredText: what they hold is shown as it stands, and nothing by accident."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "docs" / "_ext"))
pytest.importorskip("sphinx")

from docstrings import to_rst
from docutils.core import publish_doctree

DOCSTRING = """
`L = -mean_i sum_j w_ij`, `s a_i.k_j`; a_ and *stars* and |bars| mean nothing.

name    one per number
other   what it *is*

- one `x`
- two, over
  lines

Args:
    towers: modality -> tower_; a modality
        trained from a store.
    name: how reports call it.

Raises:
    UserError: no such `file`.

Example:
    encoder = load("runs/demo")  # [1, D]

    encoder.cut
""".strip().split("\n")


def test_a_docstring_is_shown_as_it_stands() -> None:
    document = publish_doctree("\n".join(to_rst(DOCSTRING)), settings_overrides={"report_level": 5})
    assert not list(
        document.findall(lambda node: node.tagname in ("system_message", "problematic", "emphasis", "target"))
    )
    literals = [node.astext() for node in document.findall(lambda node: node.tagname == "literal")]
    assert literals == ["L = -mean_i sum_j w_ij", "s a_i.k_j", "x", "file"]
    first = next(document.findall(lambda node: node.tagname == "paragraph")).astext()
    assert first == "L = -mean_i sum_j w_ij, s a_i.k_j; a_ and *stars* and |bars| mean nothing."
    blocks = [node.astext() for node in document.findall(lambda node: node.tagname == "literal_block")]
    assert blocks == [
        "name    one per number\nother   what it *is*",
        'encoder = load("runs/demo")  # [1, D]\n\nencoder.cut',
    ]
    items = [node.astext() for node in document.findall(lambda node: node.tagname == "list_item")]
    assert items == ["one x", "two, over\nlines"]
    fields = {node[0].astext(): node[1].astext() for node in document.findall(lambda node: node.tagname == "field")}
    assert fields == {
        "param towers": "modality -> tower_; a modality trained from a store.",
        "param name": "how reports call it.",
        "raises UserError": "no such file.",
    }
