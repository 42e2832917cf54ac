"""The directive `{commands}`: what `xmodal COMMAND --help` prints, a heading each, from the table of commands."""

import contextlib
import importlib
import io
import os
from unittest import mock

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def help_of(module: str) -> str:
    """What `--help` prints of a command, by its module within `xmodal.commands`."""
    printed = io.StringIO()
    with (
        mock.patch.dict(os.environ, COLUMNS="100"),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
    ):
        importlib.import_module(f"xmodal.commands.{module}").main(["--help"])
    return printed.getvalue()


class Commands(SphinxDirective):
    """A section for each command."""

    def run(self) -> list[nodes.Node]:
        """The sections, in the order of the table."""
        from xmodal.commands.cli import COMMANDS

        made: list[nodes.Node] = []
        for name, (module, line) in COMMANDS.items():
            section = nodes.section(ids=[nodes.make_id(name)], names=[name])
            section += nodes.title("", "", nodes.literal(text=f"xmodal {name}"))
            section += nodes.paragraph(text=f"{line[0].upper()}{line[1:]}.")
            text = help_of(module)
            section += nodes.literal_block(text, text, language="none")
            made.append(section)
        return made


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
