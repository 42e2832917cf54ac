"""SLURP's official score of a prediction file, and the strict one.

    xmodal slurp-score predictions.jsonl slurp/test.jsonl
    xmodal slurp-score predictions.jsonl slurp/test.jsonl --out runs/slurp_score

Predictions are JSON lines of scenario, action and the item: file (a recording; audio systems) or slurp_id (a sentence;
text systems). The official scorer passes over items without a prediction; strict counts them as wrong. Of the intent,
scenario and action together, micro-F1 is the accuracy. Intervals resample sentences.
"""

from pathlib import Path

from xmodal.commands.parsing import command_parser
from xmodal.commands.paths import require_data


def main(argv: list[str]) -> None:
    """Parse the options and call the library."""
    parser = command_parser("slurp-score", __doc__)
    parser.add_argument("predictions", type=Path, help="JSON lines of scenario, action, and file or slurp_id")
    parser.add_argument("gold", type=Path, help="SLURP's annotations, such as test.jsonl")
    parser.add_argument("--per", choices=["sentence", "recording"], help="what is scored (default: what is predicted)")
    parser.add_argument("--out", type=Path, help="report folder (default: the numbers are printed only)")
    options = parser.parse_args(argv)
    require_data(options.predictions, options.gold)

    from xmodal.corpora.speech.slurp import items_of, outcomes
    from xmodal.evaluation.runs.slurp_report import slurp_report

    per = options.per or items_of(options.predictions)
    report = slurp_report(options.gold.stem, outcomes(options.gold, options.predictions, per), per)
    report.provenance = {"predictions": str(options.predictions), "gold": str(options.gold)}
    print(report.to_text())
    if options.out is not None:
        report.write(options.out)
        print(f"report: {options.out / 'report.html'}")
