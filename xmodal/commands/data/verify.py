"""Check a corpus' archives against their published checksums, before they are unpacked.

    xmodal verify imagenet downloads/imagenet

Prints a line for each archive whose checksum is published (by the corpus' authors or a host of it): ok, differs,
or not there. Exit code 2 where one differs.
"""

from pathlib import Path

from xmodal.commands.parsing import command_parser
from xmodal.commands.paths import require_folder
from xmodal.errors import UserError


def main(argv: list[str]) -> None:
    """Read the command line, check the archives."""
    parser = command_parser("verify", __doc__)
    parser.add_argument("corpus", help="such as imagenet; an unknown one names those whose checksums are published")
    parser.add_argument("folder", type=Path, help="where the archives lie, as downloaded")
    options = parser.parse_args(argv)
    require_folder(options.folder)

    from xmodal.corpora.checksums import verify

    wrong = []
    for name, found, right in verify(options.corpus, options.folder):
        print(f"{options.folder / name}: {found}", flush=True)
        wrong += [] if right else [name]
    if wrong:
        raise UserError(f"{options.folder}: not as published: {', '.join(wrong)}; download again")
