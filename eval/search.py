"""The items of an embeddings file that lie nearest to a query.

    python eval/search.py photos.parquet runs/cifar "a dog on a beach" --html hits.html
    python eval/search.py photos.parquet runs/cifar like_this.jpg --modality image --k 5

The model must be the one that made the embeddings (eval/embed.py). Prints score and name of each hit, best first;
--html writes a page with the pictures in it.
"""

import argparse
import sys
from pathlib import Path

from xmodal.errors import run_script


def main(argv: list[str]) -> None:
    """Parse the options and call the library."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("embeddings", type=Path, help="made by eval/embed.py")
    parser.add_argument("model", help="run folder, open_clip:NAME[@PRETRAINED] or transformers:NAME_OR_FOLDER")
    parser.add_argument("query", help="a text, or the path of an image or a sound")
    parser.add_argument("--modality", default="text", help="what the query is, as the model calls it (text)")
    parser.add_argument("--k", type=int, default=10, help="hits (10)")
    parser.add_argument("--html", type=Path, help="write the hits as a page")
    options = parser.parse_args(argv)

    from xmodal import load
    from xmodal.evaluation.embeddings.export import read_embeddings
    from xmodal.evaluation.embeddings.search import check_page, page, search
    from xmodal.files import write_text

    if options.html is not None:
        check_page(options.html)

    embedded = read_embeddings(options.embeddings)
    encoder = load(options.model)
    hits = search(embedded, encoder, options.query, options.modality, options.k)
    for hit in hits:
        print(f"{hit.score:+.3f}  {hit.value if embedded.info['kind'] == 'text' else hit.id}")
    if options.html is not None:
        write_text(options.html, page(embedded, hits, options.query, encoder.kind(options.modality)))
        print(f"page: {options.html}")


if __name__ == "__main__":
    sys.exit(run_script(main))
