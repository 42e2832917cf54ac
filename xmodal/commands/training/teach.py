"""From a file of phrases to a run that understands people who say such things; no recording is needed.

    pip install 'xmodal[demo]'
    xmodal teach phrases.yaml --output runs/cafe
    xmodal teach phrases.yaml --output runs/cafe --recordings mine.jsonl --human speechocean762 --minutes 20
    xmodal listen runs/cafe talk.wav

phrases.yaml:

    slots:
      size: [small, medium, large]
    intents:
      order_tea: [a $size tea please, (can|could) I get a $size tea]
      cancel: [cancel my order, never mind]

Voices the phrases in many voices (espeak-ng), trains, tests on phrases and voices held out of training, and writes a
report. --recordings: a manifest of your own with speech, text, split (train or test) and, for tests, label and slots'
columns. --human: a manifest of human speech and its text, of whatever is said, or the name of a data set in
$XMODAL_DATA; it is used only where it is given. Called again, it goes on where it stopped. More: docs/teach.md.
"""

import math
from pathlib import Path

from xmodal.commands.parsing import command_parser
from xmodal.commands.paths import find_yaml, require_data
from xmodal.commands.training.train import let_threads_wait
from xmodal.errors import UserError, no_such_file


def main(argv: list[str]) -> None:
    """Check what was typed, teach, print the report."""
    parser = command_parser("teach", __doc__)
    parser.add_argument("phrases", type=Path, metavar="PHRASES.yaml")
    parser.add_argument("overrides", nargs="*", metavar="a.b=value", help="keys of the config, set here")
    parser.add_argument("--output", type=Path, help="run folder (default: runs/ and the name of the file of phrases)")
    parser.add_argument("--config", default="teach", help="the config to start from (default: the shipped teach)")
    parser.add_argument("--recordings", type=Path, help="your own recordings: a manifest with a column split")
    parser.add_argument("--human", action="append", default=[], help="human speech to mix in; may be repeated")
    parser.add_argument("--minutes", type=_minutes, default=10.0, help="on 2 cores, roughly (10)")
    parser.add_argument("--held-out", type=_share, default=0.2, help="share of each intent's phrases to test on (0.2)")
    given = parser.parse_intermixed_args(argv)
    if not given.phrases.is_file():
        raise (
            UserError(f"{given.phrases}: is a folder, expected a file of phrases")
            if given.phrases.is_dir()
            else (no_such_file(given.phrases))
        )
    require_data(given.recordings)
    config = find_yaml(given.config)

    let_threads_wait()
    from xmodal.teaching.request import Typed, prepare

    output = given.output or Path("runs") / given.phrases.stem
    typed = Typed(given.phrases, output, config, given.recordings, tuple(given.human), given.minutes, given.held_out,
                  tuple(given.overrides))  # fmt: skip
    lesson = prepare(typed)
    for warning in lesson.phrases.warnings:
        print(f"warning: {warning}")
    print(f"{given.phrases}: {len(lesson.phrases.phrases)} phrases of {len(lesson.phrases.intents)} intents, "
          f"{len(lesson.held.tested)} held out; {lesson.plan}")  # fmt: skip

    from xmodal.teaching.teach import headline, teach

    report = teach(lesson)
    if report is not None:
        print(headline(report).to_text())
        print(f"all numbers: {output / 'report' / 'report.html'}")
        print(f"speak to it: xmodal listen {output}")


def _minutes(text: str) -> float:
    return _number("--minutes", text, 0.5, 10_000, "minutes, half of one at least")


def _share(text: str) -> float:
    return _number("--held-out", text, 0, 0.8, "a share from 0 to 0.8")


def _number(option: str, text: str, least: float, most: float, expected: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not least <= found <= most:
        raise UserError(f"{option}: found {text}, expected {expected}")
    return found
