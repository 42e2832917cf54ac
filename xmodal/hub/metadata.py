"""The YAML header of a model card, through `huggingface_hub`'s own classes: what the hub filters and shows by."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xmodal.hub.described import Side, hub_data, objectives_of
from xmodal.hub.request import CardRequest
from xmodal.report.record import Record

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

_DIGITS = 6  # of a value


def header(
    config: Mapping[str, Any],
    sides: Sequence[Side],
    records: Sequence[Record],
    request: CardRequest,
    model_name: str,
) -> str:
    """The header's YAML, without the lines of dashes.

    Args:
        config: of the run, as `read_run` gives it.
        sides: of the run.
        records: of its report; those without a value are left out.
        request: what was said with the push.
        model_name: as the model index calls it.
    """
    from huggingface_hub import ModelCardData  # late: it is needed for a push alone

    trained_on = hub_data(str((config.get("data") or {}).get("train") or ""))
    datasets = [*request.datasets, *([trained_on[0]] if trained_on and "/" in trained_on[0] else [])]
    bases = list(dict.fromkeys(side.base_model for side in sides if side.base_model))
    results = eval_results(config, sides, records)
    data = ModelCardData(
        language=list(request.languages) or None,
        license=request.license,
        library_name="xmodal",
        pipeline_tag=pipeline_tag([side.kind for side in sides]),
        tags=["xmodal", "cross-modal", "zero-shot", *objectives_of(config), *dict.fromkeys(s.kind for s in sides)],
        base_model=bases or None,
        datasets=list(dict.fromkeys(datasets)) or None,
        eval_results=results or None,
        model_name=model_name if results else None,
    )
    return data.to_yaml()


def pipeline_tag(kinds: Sequence[str]) -> str:
    """The hub's name for what a run does. It has none for sound and text beside each other."""
    return "zero-shot-image-classification" if {"image", "text"} <= set(kinds) else "feature-extraction"


def eval_results(config: Mapping[str, Any], sides: Sequence[Side], records: Sequence[Record]) -> "list[EvalResult]":
    """The numbers of a report as the hub's model index has them; interval, n and chance are the metric's arguments."""
    from huggingface_hub import EvalResult

    evaluators = config.get("evaluators") or {}
    found = []
    for record in records:
        if record.value is None:
            continue
        given = evaluators.get(record.dataset) or {}
        data = hub_data(str(given.get("test") or ""))
        repository, revision, split = data or (None, None, None)
        beside = {"low": record.low, "high": record.high, "n": record.n, "chance": record.chance}
        found.append(
            EvalResult(
                task_type=task_of(given, sides),
                dataset_type=repository or "private",  # the hub asks for one
                dataset_name=record.dataset,
                dataset_split=split,
                dataset_revision=revision,
                dataset_config=None if data else record.dataset,  # private tests stay apart: the index groups by it
                metric_type=record.metric,
                metric_name=record.metric,
                metric_value=rounded(record.value),
                metric_args={key: rounded(value) for key, value in beside.items() if value is not None},
            )
        )
    return found


def task_of(evaluator: Mapping[str, Any], sides: Sequence[Side]) -> str:
    """What the hub calls the task of an evaluator."""
    if evaluator.get("kind") == "retrieval":
        return "retrieval"
    kinds = {side.kind for side in sides}
    if "audio" in kinds:
        return "audio-classification"
    return "zero-shot-image-classification" if "image" in kinds else "text-classification"


def rounded(value: float) -> float:
    """To six digits after the point; a count stays one."""
    return value if isinstance(value, int) else round(value, _DIGITS)
