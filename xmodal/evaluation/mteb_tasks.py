"""Tasks of mteb, found by name and run by mteb itself. mteb is imported late: it takes seconds, and is an extra."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xmodal.config.imported import imported, why_not
from xmodal.errors import UserError


@dataclass(frozen=True)
class Score:
    """The main score of a task on one of its splits and subsets."""

    task: str
    split: str
    subset: str
    metric: str
    value: float


def find_tasks(names: Sequence[str]) -> list[Any]:
    """mteb's tasks of these names; `module:Class` is a class of one's own, also of the folder one is in.

    Raises:
        UserError: mteb is not installed, no such task, no such class, one that cannot be made.

    Example:
        find_tasks(["STSBenchmark", "my_tasks:HomeIntents"])
    """
    if importlib.util.find_spec("mteb") is None:
        raise UserError("xmodal mteb needs mteb, not installed here; pip install 'xmodal[mteb]'")
    return [_own_task(name) if ":" in name else _task(name) for name in names]


def _task(name: str) -> Any:
    import mteb

    try:
        return mteb.get_task(name)
    except KeyError as error:
        reason = str(error.args[0]).removeprefix("KeyError: ")
        raise UserError(f"--tasks: {reason} (all: mteb.get_tasks())") from error


def _own_task(name: str) -> Any:
    from mteb.abstasks.abstask import AbsTask

    try:
        found = imported(name)
    except (Exception, SystemExit) as error:  # a foreign module may fail in any way
        reason = why_not(error, name.partition(":")[0])
        raise UserError(f"--tasks: {name} cannot be imported ({reason}); expected module:Class") from error
    if not (isinstance(found, type) and issubclass(found, AbsTask)):
        raise UserError(f"--tasks: {name}: not derived from mteb's AbsTask; derive it from one of mteb.abstasks")
    try:
        return found()
    except Exception as error:  # its own code, too
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(
            f"--tasks: {name} cannot be made ({reason}); expected a class with metadata and every method that mteb's "
            "abstract class asks for"
        ) from error


def require_modalities(model: Any, tasks: Sequence[Any]) -> None:
    """Raise `UserError` for the first task with items that the model cannot encode, before any data are loaded."""
    from xmodal.encoding.mteb_encoder import lacking

    for task in tasks:
        needed = set(task.metadata.modalities)
        if not needed <= set(model.sides):
            raise UserError(lacking(task.metadata.name, needed, model.model.name, model.sides))


def run_tasks(model: Any, tasks: Sequence[Any], out: Path, batch_size: int = 64) -> list[Score]:
    """The main scores of tasks, by `mteb.evaluate`; its results are kept in `out`, and not computed twice.

    Args:
        model: from `Encoder.as_mteb`.
        tasks: from `find_tasks`.
        out: a folder.
        batch_size: items at a time.

    Raises:
        UserError: a task of a modality that the model lacks; data that cannot be loaded.
    """
    import mteb

    require_modalities(model, tasks)
    scores = []
    for task in tasks:
        name = task.metadata.name
        try:
            task.load_data()
        except (OSError, ValueError, ImportError) as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(
                f"mteb task {name}: its data cannot be loaded ({reason}); check the connection, or fill the cache of "
                "datasets where there is one"
            ) from error
        result = mteb.evaluate(
            model, task, co2_tracker=False, encode_kwargs={"batch_size": batch_size}, show_progress_bar=False,
            cache=mteb.ResultCache(out),
        )  # fmt: skip
        for found in result.task_results:
            for split, subsets in found.scores.items():
                for one in subsets:
                    value = float(one["main_score"])
                    scores.append(Score(name, split, one["hf_subset"], task.metadata.main_score, value))
    return scores
