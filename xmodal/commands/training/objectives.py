"""What objectives there are: when to use each, what it needs of a run, what it costs, and its source.

xmodal objectives                    # a line each, by family
xmodal objectives cwcl               # one in full: its settings, and lines to paste into a config
xmodal objectives --markdown         # the table of docs/objectives/README.md
"""

from xmodal.commands.parsing import command_parser
from xmodal.errors import UserError


def main(argv: list[str]) -> None:
    """Print the list, one objective, or the table."""
    parser = command_parser("objectives", __doc__)
    parser.add_argument("kind", nargs="?", help="one objective, in full")
    parser.add_argument("--markdown", action="store_true", help="as a Markdown table, with links")
    options = parser.parse_args(argv)

    from xmodal.objectives.overview import details, listing, markdown

    if options.kind and options.markdown:
        raise UserError("objectives: --markdown is of the whole table; leave it or the kind out")
    if options.kind:
        print(details(options.kind))
    else:
        print(markdown() if options.markdown else listing())
