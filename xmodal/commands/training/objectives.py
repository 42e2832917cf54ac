"""What objectives there are: when to use each, what it needs of a run, what it costs, and its source.

xmodal objectives
xmodal objectives --markdown       # the table of docs/objectives/README.md
"""

from xmodal.commands.parsing import command_parser


def main(argv: list[str]) -> None:
    """Print the table."""
    parser = command_parser("objectives", __doc__)
    parser.add_argument("--markdown", action="store_true", help="as a Markdown table, with links")
    options = parser.parse_args(argv)

    from xmodal.objectives.overview import entries, markdown

    if options.markdown:
        print(markdown())
        return
    for entry in entries():
        source = ", ".join(one if "://" in one else f"arXiv {one}" for one in entry.source.split(", "))
        sides = "1 side" if entry.sides == "1" else f"{entry.sides} sides"
        print(f"{entry.kind} ({entry.file.partition('/')[0]}; {sides}; {source})")
        print(f"    when: {entry.use}")
        print(f"    needs: {entry.needs or 'nothing'}; cost: {entry.cost}")
