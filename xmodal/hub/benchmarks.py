"""A report's numbers on benchmarks of the hub, as the files in `.eval_results/` that its leaderboards read."""

from collections.abc import Mapping, Sequence

from xmodal.config.yaml_text import write_yaml
from xmodal.errors import UserError
from xmodal.hub.metadata import rounded
from xmodal.report.cells import interval
from xmodal.report.record import Record

FOLDER = ".eval_results"
_MARK = "# written by xmodal from the report of the run\n"


def benchmark_files(
    benchmarks: Mapping[str, str], records: Sequence[Record], notes: Sequence[str], date: str | None
) -> dict[str, str]:
    """Path in the repository -> YAML, a file for each number.

    Args:
        benchmarks: DATASET/METRIC of the report -> OWNER/DATASET[:TASK]; the task is `default` where none is named.
        records: of the report.
        notes: of the report; those on this data set go with the number, and so do interval and n.
        date: when it was measured, as 2026-11-29.

    Raises:
        UserError: a number that the report has not; two numbers for one task.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml  # late: for a push alone

    found = {}
    for name, benchmark in benchmarks.items():
        record = next((each for each in records if each.name == name and each.value is not None), None)
        if record is None or record.value is None:
            known = ", ".join(each.name for each in records if each.value is not None) or "none"
            raise UserError(f"benchmark {name!r}: the report has no such number; it has {known}")
        dataset, _, task = benchmark.partition(":")
        own = [note for note in notes if note.startswith(f"{record.dataset}: ")]
        told = " ".join([f"95% interval {interval(record)}, n = {record.n}.", *own])
        entry = EvalResultEntry(dataset, task or "default", rounded(record.value), date=date, notes=told)
        called = f"{dataset}-{task or 'default'}".replace("/", "-")
        path = f"{FOLDER}/{called}.yaml"
        if path in found:
            raise UserError(
                f"benchmark {name!r}: {benchmark} is given twice, and one file of the hub holds its number ({path}); "
                "name one number for it, or another task (OWNER/DATASET:TASK)"
            )
        found[path] = _MARK + write_yaml(eval_result_entries_to_yaml([entry]))
    return found


def is_own_result(text: str) -> bool:
    """Is this a file that `benchmark_files` made?"""
    return text.startswith(_MARK)
