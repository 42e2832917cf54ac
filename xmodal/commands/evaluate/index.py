"""Build the index of an embeddings file, beside it: photos.usearch of photos.parquet. For files made without one.

    xmodal index photos.parquet

`xmodal search` finds it there. Says how long it took and how many of the nearest items it finds (recall@10 against the
exact search). An older index is replaced, another's file is not. Needs usearch: pip install 'xmodal[search]'.
"""

from pathlib import Path

from xmodal.commands.parsing import command_parser
from xmodal.errors import no_such_file


def main(argv: list[str]) -> None:
    """Parse the options and call the library."""
    parser = command_parser("index", __doc__)
    parser.add_argument("embeddings", type=Path, help="made by `xmodal embed`")
    options = parser.parse_args(argv)
    if not options.embeddings.is_file():
        raise no_such_file(options.embeddings, "make it with xmodal embed")

    from xmodal.evaluation.embeddings.export import read_embeddings
    from xmodal.evaluation.embeddings.index_file import check_index_target, index_path, require_usearch, write_index

    require_usearch()
    check_index_target(index_path(options.embeddings))
    embedded = read_embeddings(options.embeddings)
    print(write_index(options.embeddings, embedded.z).line(index_path(options.embeddings)))
