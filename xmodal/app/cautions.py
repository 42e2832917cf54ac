"""What the page must say of a run before anybody trusts it: the warnings of its report, in fewer lines."""

from collections.abc import Iterable
from pathlib import Path

from xmodal.errors import UserError
from xmodal.report.report import find_report, read_report

TELLING = ("synthetic", "in training", "in the training")  # TTS, and classes seen


def cautions_of(run: Path) -> list[str]:
    """The warnings of a run's report on synthetic items and on classes seen in training; or that there is no report.

    Raises:
        UserError: the report is damaged.

    Example:
        cautions_of(Path("runs/demo"))[0]  # "Tests templates, intents: the speech is synthetic (TTS); ..."
    """
    try:
        folder = find_report(run)
    except UserError:
        return ["Nobody has measured how good this run is: there is no report in its folder."]
    return gathered(read_report(folder).notes)


def gathered(notes: Iterable[str]) -> list[str]:
    """Notes "TEST: what" on synthetic items and classes seen, each said once with the tests it is of.

    Example:
        gathered(["a: the speech is synthetic.", "b: the speech is synthetic."])
        # ["Tests a, b: the speech is synthetic."]
    """
    tests: dict[str, list[str]] = {}
    for note in notes:
        test, colon, told = note.partition(": ")
        if colon and any(word in told for word in TELLING):
            tests.setdefault(told, []).append(test)
    return [f"{'Test' if len(named) == 1 else 'Tests'} {', '.join(named)}: {told}" for told, named in tests.items()]
