"""The items of an embeddings file that lie nearest to a query.

    xmodal search photos.parquet runs/cifar "a dog on a beach" --html hits.html
    xmodal search photos.parquet runs/cifar like_this.jpg --modality image --k 5

The model must be the one that made the embeddings (`xmodal embed`). Prints score and name of each hit, best first;
--html writes a page with the pictures in it.
"""

from pathlib import Path

from xmodal.commands.parsing import add_loading, add_model, at_least, command_parser
from xmodal.commands.paths import require_model
from xmodal.errors import no_such_file


def main(argv: list[str]) -> None:
    """Parse the options and call the library."""
    parser = command_parser("search", __doc__)
    parser.add_argument("embeddings", type=Path, help="made by `xmodal embed`")
    add_model(parser)
    parser.add_argument("query", help="a text, or the path of an image or a sound")
    parser.add_argument("--modality", default="text", help="what the query is, as the model calls it (text)")
    parser.add_argument("--k", type=at_least(1, "--k"), default=10, help="hits (10)")
    parser.add_argument("--html", type=Path, help="write the hits as a page")
    add_loading(parser)
    options = parser.parse_args(argv)
    if not options.embeddings.is_file():
        raise no_such_file(options.embeddings, "make it with xmodal embed")
    require_model(options.model)

    from xmodal import load
    from xmodal.evaluation.embeddings.export import read_embeddings
    from xmodal.evaluation.embeddings.search import check_page, page, search
    from xmodal.files import write_text

    if options.html is not None:
        check_page(options.html)

    embedded = read_embeddings(options.embeddings)
    encoder = load(options.model, dtype=options.dtype, trust_remote_code=options.trust_remote_code)
    hits = search(embedded, encoder, options.query, options.modality, options.k)
    for hit in hits:
        print(f"{hit.score:+.3f}  {hit.value if embedded.info['kind'] == 'text' else hit.id}")
    if options.html is not None:
        write_text(options.html, page(embedded, hits, options.query, encoder.kind(options.modality)))
        print(f"page: {options.html}")
