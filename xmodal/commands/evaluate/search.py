"""The items of an embeddings file that lie nearest to a query.

    xmodal search photos.parquet runs/cifar "a dog on a beach" --html hits.html
    xmodal search photos.parquet runs/cifar like_this.jpg --modality image --k 5
    xmodal search calls.parquet runs/demo "turn it off" --where speaker=anna --where "year>=2024" --json
    xmodal search photos.parquet runs/cifar --queries -     # one a line from standard input, answered as they come

The model must be the one that made the embeddings (`xmodal embed`). Prints score and name of each hit, best first;
--html writes a page with the pictures or players in it, --json a line of JSON for each query. An index beside the file
(`xmodal index`) is used where it is the file's own; without one every item is compared.
"""

import argparse
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xmodal.commands.parsing import add_loading, add_model, at_least, command_parser
from xmodal.commands.paths import require_model
from xmodal.errors import UserError, no_such_file

if TYPE_CHECKING:
    from xmodal.encoding.encoder import Encoder
    from xmodal.evaluation.embeddings.columns import Condition
    from xmodal.evaluation.embeddings.search import Answer, SearchIndex


def main(argv: list[str]) -> None:
    """Parse the options and call the library."""
    options = _parser().parse_intermixed_args(argv)
    if not options.embeddings.is_file():
        raise no_such_file(options.embeddings, "make it with xmodal embed")
    require_model(options.model)
    if bool(options.query) == (options.queries is not None):
        raise UserError("search: expected queries, or --queries FILE, one of the two")
    queries = _queries(options.query, options.queries)

    from xmodal import load
    from xmodal.evaluation.embeddings.columns import condition_of
    from xmodal.evaluation.embeddings.hit_media import Budget, shown_folder
    from xmodal.evaluation.embeddings.page import check_page, page
    from xmodal.evaluation.embeddings.search import open_search
    from xmodal.files import write_text

    where = [condition_of(text) for text in options.where]
    if options.html is not None:
        check_page(options.html)
    index = open_search(options.embeddings, options.exact)
    if options.html is not None:
        shown_folder(options.embeddings, index.embedded)
    for note in index.notes:
        _note(note)
    rows = index.rows(where)
    there = len(index) if rows is None else len(rows)
    if not there:
        raise UserError(f"search: no item of {len(index):,} meets {', '.join(map(str, where))}; ask for less")
    if there < options.k:
        _note(f"{there:,} items to search, fewer than --k {options.k:,}")
    encoder = load(options.model, dtype=options.dtype, trust_remote_code=options.trust_remote_code)
    index.require(encoder)
    answers, failed, asked = _answers(index, encoder, queries, where, options)
    if options.html is not None and answers:
        budget = Budget()
        write_text(options.html, page(index.embedded, answers, where, budget))
        print(f"page: {options.html}", file=sys.stderr if options.json else sys.stdout)
        if told := budget.line():
            _note(told)
    if failed:
        raise UserError(f"search: {failed:,} of {asked:,} queries were not answered; each is named above")


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("search", __doc__)
    parser.add_argument("embeddings", type=Path, help="made by `xmodal embed`")
    add_model(parser)
    parser.add_argument("query", nargs="*", help="texts, or paths of images or sounds")
    parser.add_argument("--queries", help="a file with one query a line; -: standard input")
    parser.add_argument("--modality", default="text", help="what the query is, as the model calls it (text)")
    parser.add_argument("--k", type=at_least(1, "--k"), default=10, help="hits of each query (10)")
    only = "only such items; may be repeated, all hold"
    parser.add_argument("--where", action="append", default=[], metavar="COLUMN=VALUE", help=only)
    parser.add_argument("--exact", action="store_true", help="compare every item, whatever index there is")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each query")
    parser.add_argument("--html", type=Path, help="write the hits as a page")
    add_loading(parser)
    return parser


def _answers(
    index: "SearchIndex",
    encoder: "Encoder",
    queries: Iterable[str],
    where: "Sequence[Condition]",
    options: argparse.Namespace,
) -> "tuple[list[Answer], int, int]":
    """Answer and print the queries as they come; those of a page, how many were not answered, and of how many."""
    from xmodal.evaluation.embeddings.search import as_json

    is_text = encoder.kind(options.modality) == "text"
    other = next((side for side, kind in encoder.kinds.items() if kind != "text"), None)
    several = options.queries is not None or len(options.query) > 1
    answers, failed, asked = [], 0, 0
    for query in queries:
        asked += 1
        if is_text and other is not None and os.path.isfile(query):  # noqa: PTH113  pathlib fails on long texts
            _note(f"{query}: there is a file of that name; searched for the words, --modality {other} takes the file")
        try:
            answer = index.query(encoder, query, options.modality, options.k, where)
        except UserError as error:
            if not several:
                raise
            failed += 1
            print(f"not answered: {query}: {error}", file=sys.stderr)
            continue
        if options.json:
            print(json.dumps(as_json(index, answer, where), ensure_ascii=False), flush=True)
        else:
            _print(answer, index.embedded.kind == "text", several)
        if options.html is not None:
            answers.append(answer)
    if not asked:
        raise UserError(f"--queries: {options.queries}: no query in it; expected one a line")
    return answers, failed, asked


def _note(line: str) -> None:
    print(f"note: {line}", file=sys.stderr)


def _queries(typed: list[str], source: str | None) -> Iterator[str]:
    """The queries as they come; blank lines are passed over. A file is read at once.

    Raises:
        UserError: no such file, or one that is not UTF-8.
    """
    lines: Iterable[str] = typed
    if source == "-":
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="surrogateescape")  # a line that is not UTF-8 costs no other line
        lines = sys.stdin
    elif source is not None:
        lines = _lines(Path(source))
    return (line.strip() for line in lines if line.strip() or source is None)


def _lines(path: Path) -> list[str]:
    from xmodal.files import split_lines
    from xmodal.prompts import read_text

    if path.is_dir():
        raise UserError(f"--queries: {path}: is a folder, expected a file with one query a line")
    if not path.exists():
        raise no_such_file(path)
    try:
        return split_lines(read_text(path))
    except UnicodeDecodeError as error:
        raise UserError(f"--queries: {path}: not UTF-8 ({error.reason}); convert it") from error


def _print(answer: "Answer", texts: bool, several: bool) -> None:
    """The hits as lines; of several queries each under its own."""
    if several:
        print(f"{answer.query}:")
    for hit in answer.hits:
        print(f"{hit.score:+.3f}  {hit.value if texts else hit.id}")
    if several:
        print(flush=True)
