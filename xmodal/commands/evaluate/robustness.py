"""How much the choice of prompt templates matters to a run, or to several side by side.

    xmodal robustness runs/cifar10_cwcl --dataset data/cifar10/test.parquet --prompts cifar --k 1 5 10
    xmodal robustness runs/cl runs/cwcl --dataset data/cifar10/test.parquet --prompts cifar --out docs/templates
    xmodal robustness runs/demo --dataset data/demo/test_templates.jsonl --items speech --cluster text --k 1 5

Prints accuracy for subsets of k templates; writes curve, ranking, rewordings and differences between runs to --out.
RUN may also be open_clip:NAME or transformers:NAME. Embeddings of the items are kept in RUN/embeddings, as by
`xmodal zero-shot`: what it has embedded is not read again.
"""

import os
from pathlib import Path

from xmodal.commands.parsing import add_labelled, add_max_bad, add_report, at_least, command_parser
from xmodal.commands.paths import require_data, require_model
from xmodal.errors import UserError


def main(argv: list[str]) -> None:
    """Parse the options and call the library."""
    parser = command_parser("robustness", __doc__)
    parser.add_argument("run", nargs="+", help="run folder, or open_clip:NAME, transformers:NAME")
    parser.add_argument("--dataset", type=Path, required=True, help="manifest with a column of items and label")
    parser.add_argument("--prompts", help="template set (cifar, ...), YAML or .txt file (default: the run's own)")
    parser.add_argument("--k", type=int, nargs="+", help="templates averaged (default 1 5 10, of a set that large)")
    add_labelled(parser)
    parser.add_argument("--text", default="text", help="modality of the prompts (default text)")
    parser.add_argument("--names", type=Path, help="JSON: label -> class name; or imagenet, for WordNet ids")
    parser.add_argument("--classes", nargs="+", help="labels to choose among, or one name or file of a subset")
    parser.add_argument("--cluster", help="column whose equal values are resampled together (speech: its text)")
    parser.add_argument("--synthetic", action="store_true", help="the items are synthetic")
    add_max_bad(parser, 0.01)
    parser.add_argument("--no-perturbations", action="store_true", help="do not reword templates: fewer prompts")
    parser.add_argument("--seed", type=at_least(0, "--seed"), default=0, help="of the subsets (default 0)")
    add_report(parser, "RUN/robustness-DATASET of the first run")
    options = parser.parse_args(argv)
    if len({os.path.realpath(run) for run in options.run}) < len(options.run):
        raise UserError("a run is given twice; expected different ones")
    for run in options.run:
        require_model(run)
    require_data(options.dataset)

    from xmodal.commands.evaluate.model import load_for_evaluation, name_of, require_writable, side_of_items, spec_of
    from xmodal.evaluation.classification.zero_shot import ZeroShot
    from xmodal.evaluation.robustness.robustness_report import robustness_report, sizes_of
    from xmodal.prompts import load_templates

    if options.prompts:
        sizes_of(options.k, load_templates(options.prompts), options.prompts)
    short = [Path(run).name for run in options.run]
    names = short if len(set(short)) == len(short) else options.run
    found = [load_for_evaluation(run, options) for run in options.run]
    encoders = {name: encoder for name, (encoder, _, _) in zip(names, found, strict=True)}
    _, home, specs = found[0]
    own = spec_of(specs, options.dataset)
    prompts = options.prompts or (own.prompts if own else "imagenet80")
    sizes = sizes_of(options.k, load_templates(prompts), prompts)
    called = name_of(options.dataset)
    out = options.out or home / f"robustness-{called}"
    require_writable(out)
    given = {name: getattr(options, name) for name in ("names", "cluster", "items", "text", "column", "label")}
    given["items"] = side_of_items(found[0][0], "--items", options.items)
    given["names"] = given["names"] or (own.names if own and own.test == options.dataset else None)
    classes = options.classes and (options.classes[0] if len(options.classes) == 1 else tuple(options.classes))
    flags = {"trained": options.trained, "synthetic": options.synthetic, "max_bad": options.max_bad}
    spec = ZeroShot.Spec(test=options.dataset, prompts=prompts, classes=classes, **given, **flags)
    test = ZeroShot(spec, next(iter(encoders.values())).kinds)
    report = robustness_report(encoders, test, called, sizes, not options.no_perturbations, seed=options.seed)
    report.write(out)
    print(report.to_text())
    print(f"report: {out / 'report.html'}")
