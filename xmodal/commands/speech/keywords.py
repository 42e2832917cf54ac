"""Keyword spotting, zero-shot: which word of a list is said, or another one, or nothing at all?

    xmodal keywords runs/spoken --test data/sc_v2/test12.jsonl --dev data/sc_v2/dev12.jsonl --words 12
    xmodal keywords runs/spoken --test data/sc_v2/test35.jsonl --words 35
    xmodal keywords runs/spoken --test data/mine/test.jsonl --dev data/mine/dev.jsonl --words lights music _unknown_

Lists: 12 and 35 (Speech Commands V2), superb (V0.01, 12 classes), or words of your own; among them _unknown_ (any other
word) and _silence_, whose thresholds are chosen on --dev. Manifests have speech and label; labels outside the list are
_unknown_ where that is in it, and else left out. Embeddings are kept in RUN/embeddings.
"""

import math
from pathlib import Path

from xmodal.commands.parsing import add_labelled, add_max_bad, add_model, add_report, command_parser
from xmodal.commands.paths import require_data, require_model
from xmodal.errors import UserError


def main(argv: list[str]) -> None:
    """Parse the options and call the library."""
    parser = command_parser("keywords", __doc__)
    add_model(parser)
    parser.add_argument("--test", type=Path, required=True, help="recordings and labels")
    parser.add_argument("--dev", type=Path, help="the same, of other recordings: chooses the thresholds")
    parser.add_argument("--words", nargs="+", default=["12"], help="12, 35, superb, or the classes (default 12)")
    parser.add_argument("--most-false-accepts", type=_rate, help="per hour of --dev (default: misses weigh alike)")
    parser.add_argument("--prompts", help="template set, YAML or .txt file; default: plain")
    parser.add_argument("--names", type=Path, help="JSON: word -> how the prompts say it")
    add_labelled(parser, "recordings", trained="words")
    parser.add_argument("--cluster", help="column resampled together (default: speaker, where there is one)")
    parser.add_argument("--synthetic", action="store_true", help="the speech is TTS")
    add_max_bad(parser, 0.01, "recordings")
    add_report(parser, "RUN/keywords-TEST")
    options = parser.parse_args(argv)
    require_model(options.model)
    require_data(options.test, options.dev, options.names)

    from xmodal.commands.evaluate.model import load_for_evaluation, name_of, side_of_items, spec_of_options
    from xmodal.commands.evaluate.report import evaluate_and_print
    from xmodal.evaluation.keywords.keywords import Keywords

    settings = (
        "test", "dev", "most_false_accepts", "prompts", "names", "items", "column", "label", "cluster", "trained",
        "synthetic", "max_bad",
    )  # fmt: skip
    words = options.words[0] if len(options.words) == 1 else tuple(options.words)
    spec = spec_of_options(Keywords.Spec, words=words, **{name: getattr(options, name) for name in settings})
    encoder, home, _ = load_for_evaluation(options.model, options)
    spec = spec.model_copy(update={"items": side_of_items(encoder, "--items", options.items)})
    called = name_of(options.test)
    evaluate_and_print(encoder, {called: spec}, home, options.out or home / f"keywords-{called}")


def _rate(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise UserError(f"--most-false-accepts: found {text}, expected a number per hour, above 0")
    return found
