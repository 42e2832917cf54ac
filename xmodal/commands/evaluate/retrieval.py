"""Retrieval in both directions by a run, or by any dual encoder: recall@k, ranks, mAP@10, and queries with their hits.

    xmodal retrieval runs/lit_coco                                       # what its config names
    xmodal retrieval runs/lit_coco --test data/coco/test.parquet
    xmodal retrieval open_clip:ViT-B-32@laion2b_s34b_b79k --test data/flickr30k_karpathy/test.parquet
    xmodal retrieval runs/clotho --test data/clotho/test.jsonl --items audio --k 1 5 10

The test is a manifest with image and text, a row per caption or a list of captions per row; `xmodal prepare
coco_karpathy` and `flickr30k_karpathy` make the ones that papers quote. Embeddings of the images are kept in
RUN/embeddings: a second evaluation does not read the images again, but for those in its pictures.
"""

from pathlib import Path

from xmodal.commands.parsing import add_max_bad, add_model, add_report, at_least, command_parser
from xmodal.commands.paths import require_data, require_model
from xmodal.errors import UserError


def main(argv: list[str]) -> None:
    """Parse the options and call the library."""
    parser = command_parser("retrieval", __doc__)
    add_model(parser)
    parser.add_argument("--test", type=Path, help="manifest of pairs")
    parser.add_argument("--items", default="image", help="one modality (default image)")
    parser.add_argument("--text", default="text", help="the other modality (default text)")
    parser.add_argument("--column", help="of the items (default: the modality's name)")
    parser.add_argument("--text-column", help="of the texts, likewise")
    k = at_least(1, "--k")
    parser.add_argument("--k", type=k, nargs="+", default=[1, 5, 10], help="recall@k (default 1 5 10)")
    add_max_bad(parser, 0.01)
    add_report(parser, "RUN/retrieval, RUN/retrieval-TEST")
    options = parser.parse_args(argv)
    of_test = ("items", "text", "column", "text_column", "k", "max_bad")
    if options.test is None and any(getattr(options, name) != parser.get_default(name) for name in of_test):
        options_of_test = ", ".join(f"--{name.replace('_', '-')}" for name in of_test)
        raise UserError(f"{options_of_test} go with --test; a run's own tests are as its config says")
    require_model(options.model)
    require_data(options.test)

    from xmodal.commands.evaluate.model import load_for_evaluation, name_of
    from xmodal.commands.evaluate.report import evaluate_and_print
    from xmodal.evaluation.retrieval.retrieval import Retrieval

    encoder, home, named = load_for_evaluation(options.model, options)
    specs = {name: spec for name, spec in named.items() if isinstance(spec, Retrieval.Spec)}
    name = "retrieval"
    if options.test:
        spec = Retrieval.Spec(
            test=options.test, ks=tuple(options.k), **{n: getattr(options, n) for n in of_test if n != "k"}
        )
        called = name_of(options.test)
        specs, name = {called: spec}, f"retrieval-{called}"
    elif not specs:
        raise UserError(f"{options.model}: names no evaluators of kind retrieval; give --test MANIFEST")
    evaluate_and_print(encoder, specs, home, options.out or home / name)
