"""Which settings of an objective, or of a run, a comparison may choose on dev, and how they are written."""

from typing import Any

from xmodal.config.kinds import KERNELS, OBJECTIVES

Tree = dict[str, Any]
SET_BY_COMPARISON = tuple(
    f"train.{key}" for key in ("steps", "eval_every", "save_every", "log_every", "best", "trackers", "resume")
)
SET_ITSELF = "a comparison sets it itself, the same for all; take it out (the length of a run is its budget)"


def no_setting(objective: Tree, key: str) -> str:
    """Why dev cannot choose a setting; "" where it can."""
    if key in SET_BY_COMPARISON:
        return SET_ITSELF
    if not has_key(objective, key):
        kind = objective.get("kind", "this objective")
        return f"{kind} has no such setting as it is given; see xmodal objectives, or name its kernel or schedule first"
    return ""


def is_of_run(key: str) -> bool:
    """Is a dotted key one of the run (`optim.lr`), and not of the objective (`temperature`)?"""
    return key.partition(".")[0] in ("data", "optim", "targets", "towers", "train")


def has_key(objective: Tree, key: str) -> bool:
    """Does an objective know this setting, or is it one of the run?"""
    if is_of_run(key):
        return True
    first, _, rest = key.partition(".")
    if not isinstance(objective.get("kind"), str):  # terms by name
        return bool(rest) and isinstance(objective.get(first), dict) and has_key(objective[first], rest)
    fields = OBJECTIVES.spec(objective["kind"]).model_fields
    if not rest:
        return first in fields
    if first != "kernel" or "kernel" not in fields:
        return first in fields and isinstance(objective.get(first), dict)  # a schedule's from, to, until
    default = fields["kernel"].get_default()  # none: it may have a kernel, and has none unless it is named
    given = (objective.get("kernel") or {}).get("kind") or (default and default.kind)
    return given is not None and rest in KERNELS.spec(given).model_fields
