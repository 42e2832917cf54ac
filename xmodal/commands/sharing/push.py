"""Put a run on the Hugging Face hub, with a model card.

    xmodal push runs/mine jo/spoken-intents --license apache-2.0 --language en --dry-run
    xmodal push runs/mine jo/spoken-intents --license apache-2.0 --language en
    xmodal push runs/mine jo/spoken-intents --license apache-2.0 --update        # a newer run in its place

Needs a token that may write: hf auth login. Sent are config, kept weights, towers and a card with the report's numbers
and notes; what the hub has already is not sent again. --dry-run prints the card and what would be sent.
Then anybody has it: xmodal.load("hf-hub:jo/spoken-intents"), xmodal embed hf-hub:jo/spoken-intents ...
"""

from pathlib import Path
from typing import TYPE_CHECKING

from xmodal.commands.parsing import command_parser
from xmodal.errors import UserError

if TYPE_CHECKING:
    from xmodal.hub.contents import SentFile
    from xmodal.hub.push import Pushed


def main(argv: list[str]) -> None:
    """Parse the options and push."""
    parser = command_parser("push", __doc__)
    parser.add_argument("run", type=Path, help="folder of a run whose training has ended")
    parser.add_argument("repository", help="OWNER/NAME on the hub")
    parser.add_argument("--license", "--licence", help="as the hub calls it: apache-2.0, mit, cc-by-4.0, ..., other")
    parser.add_argument("--language", nargs="+", default=[], help="ISO 639 codes of what it understands: en de")
    parser.add_argument("--dataset", action="append", default=[], help="of the hub, in training; may be repeated")
    parser.add_argument(
        "--base-model", action="append", default=[], metavar="SIDE=OWNER/NAME", help="the hub's model behind a tower"
    )
    parser.add_argument(
        "--benchmark",
        action="append",
        default=[],
        metavar="TEST/METRIC=OWNER/DATASET[:TASK]",
        help="a number of the report for a leaderboard of the hub",
    )
    parser.add_argument("--private", action="store_true", help="a new repository that others do not see")
    parser.add_argument("--update", action="store_true", help="replace the run that is there")
    parser.add_argument("--replace-card", action="store_true", help="also where somebody edited the card")
    parser.add_argument("--dry-run", action="store_true", help="send nothing; print what would be sent")
    options = parser.parse_args(argv)
    bases = _pairs("--base-model", options.base_model)
    benchmarks = _pairs("--benchmark", options.benchmark)
    if not (options.run / "config.yaml").is_file():
        raise UserError(f"{options.run}: not a run folder (no config.yaml); give the folder named by `output`")

    from xmodal.hub.plan import plan_push
    from xmodal.hub.push import send
    from xmodal.hub.request import CardRequest

    languages, datasets = tuple(options.language), tuple(options.dataset)
    request = CardRequest(options.license, languages, datasets, bases, benchmarks)
    plan = plan_push(options.run, options.repository, request)
    pushed = send(plan, options.private, options.update, options.replace_card, options.dry_run)
    if options.dry_run:
        print(f"{plan.card}\n{'-' * 40}")
    _print(pushed, options.dry_run)
    if not options.dry_run:
        print(f'load it: xmodal.load("hf-hub:{plan.repository}")')


def _pairs(option: str, typed: list[str]) -> dict[str, str]:
    """NAME=VALUE as typed, several times. Raises `UserError` for another form, or a name that is given twice."""
    found: dict[str, str] = {}
    for each in typed:
        name, equals, value = each.partition("=")
        if not name or not equals or not value:
            raise UserError(f"{option}: found {each!r}, expected NAME=VALUE")
        if name in found:
            raise UserError(f"{option}: {name} is given twice; name one of them")
        found[name] = value
    return found


def _print(pushed: "Pushed", dry_run: bool) -> None:
    verb = "would send" if dry_run else "sent"
    for file in pushed.sent:
        print(f"{verb}  {_size(file):>9}  {file.path}")
    for file in pushed.unchanged:
        print(f"is there {_size(file):>9}  {file.path}")
    for path in pushed.removed:
        print(f"{'would remove' if dry_run else 'removed'}  {path}")
    for note in pushed.notes:
        print(f"note: {note}")
    total, count = sum(file.size for file in pushed.sent), len(pushed.sent)
    print(f"{pushed.url}: {verb} {count} {'file' if count == 1 else 'files'}, {total / 1e6:,.1f} MB")


def _size(file: "SentFile") -> str:
    return f"{file.size / 1e6:,.2f} MB" if file.size >= 10_000 else f"{file.size:,} B"
