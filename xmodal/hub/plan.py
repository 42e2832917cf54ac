"""What a push would send, made without the network: the run's files, its model card, its benchmark results."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from xmodal.errors import UserError
from xmodal.hub.benchmarks import benchmark_files
from xmodal.hub.card import model_card
from xmodal.hub.contents import SentFile, run_files, without_paths
from xmodal.hub.described import Side, sides_of
from xmodal.hub.names import require_repository
from xmodal.hub.request import CardRequest
from xmodal.report.report import Report, find_report, read_report
from xmodal.runs.folder import read_run

CARD = "README.md"


@dataclass(frozen=True)
class Plan:
    """The files for a repository, and what its owner should know of them."""

    repository: str  # OWNER/NAME
    files: list[SentFile]
    notes: list[str] = field(default_factory=list)

    @property
    def card(self) -> str:
        """The model card."""
        found = next(file.source for file in self.files if file.path == CARD)
        assert isinstance(found, bytes)
        return found.decode()


def plan_push(run: Path, repository: str, request: CardRequest) -> Plan:
    """Everything that is to be sent, checked.

    Args:
        run: a folder whose training has ended.
        repository: OWNER/NAME.
        request: what the card says and the run does not know.

    Raises:
        UserError: no run, an unfinished one, a name that cannot be, a side or a number that the run has not.
    """
    require_repository(repository)
    config = read_run(run)
    files, cut = run_files(run)
    unknown = sorted(request.base_models.keys() - config["towers"].keys())
    if unknown:
        raise UserError(
            f"base model of {unknown[0]!r}: {run} has no such side; its sides: {', '.join(config['towers'])}"
        )
    sides = sides_of(config, request.base_models)
    report = _report_of(run)
    if report is not None:
        told, more = without_paths(report.notes)
        report, cut = replace(report, notes=told), cut + more
    records, told = (report.records, report.notes) if report else ([], [])
    date = report.provenance.get("date") if report else None
    results = benchmark_files(request.benchmarks, records, told, date)
    card = model_card(config, sides, report, request, repository)
    texts = {CARD: card, **results}
    made = [SentFile(path, text.encode()) for path, text in texts.items()]
    return Plan(repository, [*made, *files], _notes(sides, report, request, cut))


def _report_of(run: Path) -> Report | None:
    """Its report; None where nothing has measured it."""
    try:
        folder = find_report(run)
    except UserError:
        return None
    return read_report(folder)


def _notes(sides: list[Side], report: Report | None, request: CardRequest, cut: int) -> list[str]:
    notes = []
    if report is None:
        notes.append("the run has no report: the card has no numbers")
    elif any(record.value is None for record in report.records):
        empty = sum(record.value is None for record in report.records)
        notes.append(f"{empty} numbers of the report have no value, and are in the card's table alone")
    if not request.languages:
        notes.append("no language is named: --language en")
    for side in sides:
        local = side.tower.get("name") and side.tower.get("mode") != "scratch"
        if local and not side.base_model:
            notes.append(
                f"the hub's name of the {side.name} tower's model is not known: --base-model {side.name}=OWNER/NAME"
            )
    if cut:
        notes.append(f"{cut} paths of this machine in what is sent are cut to their last part")
    return notes
