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

from pathlib import Path

from xmodal.commands.parsing import add_cascade, add_loading, add_max_bad, add_model, command_parser, label_sets
from xmodal.commands.paths import find_yaml, require_data, require_model
from xmodal.errors import UserError


def main(argv: list[str]) -> None:
    """Parse the options and call the library."""
    parser = command_parser("zero-shot", __doc__)
    add_model(parser)
    parser.add_argument("--dataset", type=Path, help="the test")
    parser.add_argument("--suite", help="YAML: many tests, one table; or a shipped one's name, as suites/imagenet")
    parser.add_argument("--prompts", help="template set (imagenet80, cifar, ...), YAML or .txt file; default: plain")
    parser.add_argument("--names", help="JSON: label -> class name; .txt: of labels 0, 1, ...; or imagenet, for wnids")
    parser.add_argument("--column", help="of the items (default: the modality's name)")
    parser.add_argument("--label", help="column of the labels (default: labels, else label)")
    parser.add_argument("--classes", nargs="+", help="labels to choose among, or one name or file of a subset")
    parser.add_argument("--cluster", help="column whose equal values are resampled together")
    parser.add_argument("--items", default="image", help="modality under test (default image)")
    parser.add_argument("--trained", action="store_true", help="the classes occur in training")
    add_cascade(parser)
    parser.add_argument("--dev", type=Path, help="like --dataset: chooses the threshold of items that are of no class")
    parser.add_argument("--labels", action="append", metavar="SET=VALUE,VALUE", help="a label set; may be repeated")
    parser.add_argument("--examples", type=Path, help="of --labels: phrases (text, columns of the sets) behind means")
    parser.add_argument("--centre", type=Path, help="of --labels: recordings whose mean is taken off, not the test's")
    add_max_bad(parser, None)
    parser.add_argument("--embeddings", type=Path, help="where embeddings are kept (default RUN/embeddings)")
    add_loading(parser)
    parser.add_argument("--out", type=Path, help="report folder (default RUN/report, RUN/zero_shot-DATASET-PROMPTS)")
    options = parser.parse_args(argv)
    given = {
        "prompts": options.prompts,
        "names": options.names,
        "column": options.column,
        "label": options.label,
        "classes": options.classes,
        "cluster": options.cluster,
        "cascade": options.cascade,
        "dev": options.dev,
        "max_bad": options.max_bad,
    }
    of_sets = {"labels": label_sets(options.labels), "examples": options.examples, "centre": options.centre}
    other_items = options.items != parser.get_default("items")
    asked = any(value is not None for value in [*given.values(), *of_sets.values()])
    if options.dataset is None and (asked or options.trained or other_items):
        named = ", ".join(f"--{name.replace('_', '-')}" for name in [*of_sets, *given, "items", "trained"])
        raise UserError(f"{named} go with --dataset; a run's own tests are as its config says")
    if options.dataset and options.suite:
        raise UserError("--dataset and --suite: give one of them")
    if options.labels is None and (options.examples or options.centre):
        raise UserError("--examples and --centre go with --labels: they are of label sets")
    not_of_sets = [f"--{name}" for name in ("column", "label", "classes", "dev") if given[name] is not None]
    if options.labels is not None and not_of_sets:
        raise UserError(f"{', '.join(not_of_sets)}: goes without --labels, whose sets name columns and classes")
    require_model(options.model)
    require_data(options.dataset, options.dev, options.examples, options.centre)
    suite = find_yaml(options.suite, "suites") if options.suite else None

    from xmodal.commands.evaluate.model import load_for_evaluation, name_of, spec_of_options, zero_shot_spec
    from xmodal.commands.evaluate.report import evaluate_model
    from xmodal.commands.evaluate.suite import read_suite
    from xmodal.evaluation.label_sets.label_sets import LabelSets

    encoder, home, specs = load_for_evaluation(options.model, options)
    name = "report"
    if suite:
        specs, name = read_suite(suite), f"suite-{suite.stem}"
    elif options.dataset:
        called = name_of(options.dataset)
        specs = {called: zero_shot_spec(options.dataset, options.items, options.trained, given)}
        if options.labels is not None:
            told = {key: given[key] for key in ("prompts", "names", "cluster", "max_bad", "cascade")}
            side = options.items if other_items else "speech"
            told |= {"test": options.dataset, "speech": side, "trained": options.trained}
            specs = {called: spec_of_options(LabelSets.Spec, **told, **of_sets)}
        name = f"zero_shot-{called}" + (f"-{Path(options.prompts).stem}" if options.prompts else "")
    report, out = evaluate_model(encoder, specs, home, options.out or home / name, resume=suite is not None)
    print(report.to_text())
    print(f"report: {out / 'report.html'}")
