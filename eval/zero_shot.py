"""Zero-shot classification by a run, or by any dual encoder.

    python eval/zero_shot.py runs/cifar10_cl                                    # what its config names
    python eval/zero_shot.py runs/cifar10_cl --dataset data/cifar10/test.parquet --prompts cifar
    python eval/zero_shot.py open_clip:ViT-B-32@laion2b_s34b_b79k --dataset data/imagenet/val.parquet \\
        --prompts imagenet80 --names imagenet --classes imagenet
    python eval/zero_shot.py runs/lit --dataset hub:uoft-cs/cifar100:test --column img --label fine_label
    python eval/zero_shot.py runs/lit --dataset data/wds_cars/test --names data/wds_cars/classnames.txt \\
        --prompts data/wds_cars/zeroshot_classification_templates.txt
    python eval/zero_shot.py runs/lit --suite configs/suites/imagenet.yaml

A data set is a folder of class folders, of tars with classes (.cls), or of parquet files; a manifest; or hub:NAME. A
suite is a YAML file of evaluators by name, as under `evaluators` in a config; what it has finished is not done again.
Embeddings of the images are kept in RUN/embeddings: other prompts do not read the images again.
"""

import argparse
import sys
from pathlib import Path

from xmodal.errors import UserError, run_script


def main(argv: list[str]) -> None:
    """Parse the options and call the library."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="run folder, open_clip:NAME[@PRETRAINED], or transformers:NAME")
    parser.add_argument("--dataset", type=Path, help="the test")
    parser.add_argument("--suite", type=Path, help="YAML: many tests, one table")
    parser.add_argument("--prompts", help="template set (imagenet80, cifar, ...), YAML or .txt file; default: plain")
    parser.add_argument("--names", help="JSON: label -> class name; .txt: of labels 0, 1, ...; or imagenet, for wnids")
    parser.add_argument("--column", help="of the items (default: the modality's name)")
    parser.add_argument("--label", help="column of the labels (default: labels, else label)")
    parser.add_argument("--classes", nargs="+", help="labels to choose among, or one name or file of a subset")
    parser.add_argument("--cluster", help="column whose equal values are resampled together")
    parser.add_argument("--items", default="image", help="modality under test (default image)")
    parser.add_argument("--trained", action="store_true", help="the classes occur in training")
    parser.add_argument("--max-bad", type=float, help="share of unreadable items that the test may hold (0.01)")
    parser.add_argument("--embeddings", type=Path, help="where embeddings are kept (default RUN/embeddings)")
    parser.add_argument("--dtype", choices=["fp32", "bf16", "fp16"], default="fp32", help="what the model runs in")
    parser.add_argument("--out", type=Path, help="report folder (default RUN/report, RUN/zero_shot-DATASET-PROMPTS)")
    options = parser.parse_args(argv)
    given = {
        "prompts": options.prompts,
        "names": options.names,
        "column": options.column,
        "label": options.label,
        "classes": options.classes,
        "cluster": options.cluster,
        "max_bad": options.max_bad,
    }
    other_items = options.items != parser.get_default("items")
    if options.dataset is None and (any(v is not None for v in given.values()) or options.trained or other_items):
        named = ", ".join(f"--{name.replace('_', '-')}" for name in [*given, "items", "trained"])
        raise UserError(f"{named} go with --dataset; a run's own tests are as its config says")
    if options.dataset and options.suite:
        raise UserError("--dataset and --suite: give one of them")

    from xmodal.commands.from_scripts import evaluate_model, load_for_evaluation, name_of, read_suite, zero_shot_spec

    encoder, home, specs = load_for_evaluation(options.model, options.dtype, options.embeddings)
    name = "report"
    if options.suite:
        specs, name = read_suite(options.suite), f"suite-{options.suite.stem}"
    elif options.dataset:
        called = name_of(options.dataset)
        specs = {called: zero_shot_spec(options.dataset, options.items, options.trained, given)}
        name = f"zero_shot-{called}" + (f"-{Path(options.prompts).stem}" if options.prompts else "")
    report, out = evaluate_model(encoder, specs, home, options.out or home / name, resume=bool(options.suite))
    print(report.to_text())
    print(f"report: {out / 'report.html'}")


if __name__ == "__main__":
    sys.exit(run_script(main))
