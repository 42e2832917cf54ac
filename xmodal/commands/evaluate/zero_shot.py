"""Zero-shot classification by a run, or by any dual encoder.

    xmodal zero-shot runs/cifar10_cl                                    # what its config names
    xmodal zero-shot runs/cifar10_cl --dataset data/cifar10/test.parquet --prompts cifar
    xmodal zero-shot open_clip:ViT-B-32@laion2b_s34b_b79k --dataset data/imagenet/val.parquet \\
        --prompts imagenet80 --names imagenet --classes imagenet
    xmodal zero-shot runs/lit --dataset hub:uoft-cs/cifar100:test --column img --label fine_label
    xmodal zero-shot runs/lit --dataset data/wds_cars/test --names data/wds_cars/classnames.txt \\
        --prompts data/wds_cars/zeroshot_classification_templates.txt
    xmodal zero-shot runs/lit --suite suites/imagenet
    xmodal zero-shot runs/spoken --dataset data/words/test.jsonl --items speech --cascade openai/whisper-tiny.en
    xmodal zero-shot runs/spoken --dataset data/orders/test.jsonl --items speech \\
        --labels size=small,medium,large --labels drink=latte,mocha --examples data/orders/phrases.jsonl

A data set is a folder of class folders, of tars with classes (.cls), or of parquet files; a manifest; or hub:NAME. A
suite is a YAML file of evaluators by name, as under `evaluators` in a config; what it has finished is not done again.
With --labels each set is a classification of its own, whose answers are in the column of its name. With --dev items
without a label are "none of these", and the threshold that says so is chosen on that file.
Embeddings of the images are kept in RUN/embeddings: other prompts do not read the images again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from xmodal.commands.parsing import (
    add_cascade,
    add_labelled,
    add_max_bad,
    add_model,
    add_report,
    command_parser,
    label_sets,
)
from xmodal.commands.paths import find_yaml, require_data, require_model
from xmodal.errors import UserError

if TYPE_CHECKING:
    from xmodal.config.evaluator_spec import EvaluatorSpec

OF_TEST = ("prompts", "names", "column", "label", "classes", "cluster", "cascade", "dev", "max_bad")
OF_SETS = ("labels", "examples", "centre")
NOT_OF_SETS = ("column", "label", "classes", "dev")  # label sets name columns and classes themselves


def main(argv: list[str]) -> None:
    """Parse the options and call the library."""
    options = _parser().parse_args(argv)
    options.labels = label_sets(options.labels)
    _require_consistent(options)
    require_model(options.model)
    require_data(options.dataset, options.dev, options.examples, options.centre)
    suite = find_yaml(options.suite, "suites") if options.suite else None

    from xmodal.commands.evaluate.model import load_for_evaluation, name_of, side_of_items
    from xmodal.commands.evaluate.report import evaluate_and_print
    from xmodal.commands.evaluate.suite import read_suite

    encoder, home, specs = load_for_evaluation(options.model, options)
    name = "report"
    if suite:
        specs, name = read_suite(suite), f"suite-{suite.stem}"
    elif options.dataset:
        called = name_of(options.dataset)
        specs = {called: _spec(options, side_of_items(encoder, "--items", options.items))}
        name = f"zero_shot-{called}" + (f"-{Path(options.prompts).stem}" if options.prompts else "")
    evaluate_and_print(encoder, specs, home, options.out or home / name, resume=suite is not None)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("zero-shot", __doc__)
    add_model(parser)
    parser.add_argument("--dataset", type=Path, help="the test")
    parser.add_argument("--suite", help="YAML: many tests, one table; or a shipped one's name, as suites/imagenet")
    parser.add_argument("--prompts", help="template set (imagenet80, cifar, ...), YAML or .txt file; default: plain")
    parser.add_argument("--names", help="JSON: label -> class name; .txt: of labels 0, 1, ...; or imagenet, for wnids")
    add_labelled(parser, label="labels, else label")
    parser.add_argument("--classes", nargs="+", help="labels to choose among, or one name or file of a subset")
    parser.add_argument("--cluster", help="column whose equal values are resampled together")
    add_cascade(parser)
    parser.add_argument("--dev", type=Path, help="like --dataset: chooses the threshold of items that are of no class")
    parser.add_argument("--labels", action="append", metavar="SET=VALUE,VALUE", help="a label set; may be repeated")
    parser.add_argument("--examples", type=Path, help="of --labels: phrases (text, columns of the sets) behind means")
    parser.add_argument("--centre", type=Path, help="of --labels: recordings whose mean is taken off, not the test's")
    add_max_bad(parser, None)
    add_report(parser, "RUN/report, RUN/zero_shot-DATASET-PROMPTS")
    return parser


def _require_consistent(options: argparse.Namespace) -> None:
    """Raise `UserError` for options that do not go together."""
    asked = any(getattr(options, name) is not None for name in (*OF_TEST, *OF_SETS))
    if options.dataset is None and (asked or options.trained is not None or options.items is not None):
        named = ", ".join(f"--{name.replace('_', '-')}" for name in [*OF_SETS, *OF_TEST, "items", "trained"])
        raise UserError(f"{named} go with --dataset; a run's own tests are as its config says")
    if options.dataset and options.suite:
        raise UserError("--dataset and --suite: give one of them")
    if options.labels is None and (options.examples or options.centre):
        raise UserError("--examples and --centre go with --labels: they are of label sets")
    not_of_sets = [f"--{name}" for name in NOT_OF_SETS if getattr(options, name) is not None]
    if options.labels is not None and not_of_sets:
        raise UserError(f"{', '.join(not_of_sets)}: goes without --labels, whose sets name columns and classes")


def _spec(options: argparse.Namespace, items: str) -> EvaluatorSpec:
    """The evaluator of --dataset, whose items are of this side."""
    from xmodal.commands.evaluate.model import spec_of_options, zero_shot_spec
    from xmodal.evaluation.label_sets.label_sets import LabelSets

    if options.labels is None:
        given = {name: getattr(options, name) for name in OF_TEST}
        return zero_shot_spec(options.dataset, items, options.trained, given)
    given = {name: getattr(options, name) for name in (*OF_TEST, *OF_SETS) if name not in NOT_OF_SETS}
    return spec_of_options(LabelSets.Spec, test=options.dataset, speech=items, trained=options.trained, **given)
