"""Retrieval in both directions by a run, or by any dual encoder: recall@k, ranks, mAP@10, and queries with their hits.

    python eval/retrieval.py runs/lit_coco                                       # what its config names
    python eval/retrieval.py runs/lit_coco --test data/coco/test.parquet
    python eval/retrieval.py open_clip:ViT-B-32@laion2b_s34b_b79k --test data/flickr30k_karpathy/test.parquet
    python eval/retrieval.py runs/clotho --test data/clotho/test.jsonl --items audio --k 1 5 10

The test is a manifest with image and text, a row per caption or a list of captions per row; `data_prep/prepare.py
coco_karpathy` and `flickr30k_karpathy` make the ones that papers quote. Embeddings of the images are kept in
RUN/embeddings: a second evaluation does not read the images again, but for those in its pictures.
"""

import argparse
import sys
from pathlib import Path

from xmodal.errors import UserError, run_script


def main(argv: list[str]) -> None:
    """Parse the options and call the library."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="run folder, open_clip:NAME[@PRETRAINED], or transformers:NAME")
    parser.add_argument("--test", type=Path, help="manifest of pairs")
    parser.add_argument("--items", default="image", help="one modality (default image)")
    parser.add_argument("--text", default="text", help="the other modality (default text)")
    parser.add_argument("--column", help="of the items (default: the modality's name)")
    parser.add_argument("--text-column", help="of the texts, likewise")
    parser.add_argument("--k", type=int, nargs="+", default=[1, 5, 10], help="recall@k (default 1 5 10)")
    parser.add_argument("--max-bad", type=float, default=0.01, help="share of unreadable items (default 0.01)")
    parser.add_argument("--embeddings", type=Path, help="where embeddings are kept (default RUN/embeddings)")
    parser.add_argument("--dtype", choices=["fp32", "bf16", "fp16"], default="fp32", help="what the model runs in")
    parser.add_argument("--out", type=Path, help="report folder (default RUN/retrieval, RUN/retrieval-TEST)")
    options = parser.parse_args(argv)
    if min(options.k) < 1:
        raise UserError(f"--k: {min(options.k)} must be at least 1")
    if not 0 <= options.max_bad <= 1:
        raise UserError(f"--max-bad: found {options.max_bad:g}, expected a share between 0 and 1")
    of_test = ("items", "text", "column", "text_column", "k", "max_bad")
    if options.test is None and any(getattr(options, name) != parser.get_default(name) for name in of_test):
        named = ", ".join(f"--{name.replace('_', '-')}" for name in of_test)
        raise UserError(f"{named} go with --test; a run's own tests are as its config says")

    from xmodal.commands.from_scripts import evaluate_model, load_for_evaluation, name_of
    from xmodal.evaluation.retrieval.retrieval import Retrieval

    encoder, home, named = load_for_evaluation(options.model, options.dtype, options.embeddings)
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
    report, out = evaluate_model(encoder, specs, home, options.out or home / name)
    print(report.to_text())
    print(f"report: {out / 'report.html'}")


if __name__ == "__main__":
    sys.exit(run_script(main))
