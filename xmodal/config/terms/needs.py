"""What the terms of a run's loss need of the rest of its config: views, targets, teachers, heads, stores.

Input: a `RunConfig` whose parts are right by themselves. Output: a line for each need that is not met, with the way
out, and for each thing that no term asks for.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from xmodal.config.data import STANDARD_MODALITIES
from xmodal.config.terms.terms import key_of
from xmodal.errors import UserError

if TYPE_CHECKING:
    from xmodal.config.schema import RunConfig

NEEDS = (
    "views",
    "target",
    "predicted",
    "labels",
    "store",
    "sequence",
    "teacher",
    "codes",
)  # what a term may ask of a run


def needs_of(spec: Any, group: Sequence[str]) -> list[Any]:
    """What an objective needs on these sides. Raises `UserError` where its own code fails, or gives no needs."""
    try:
        needs = list(spec.needs(*group))
    except UserError:
        raise
    except Exception as error:  # foreign code may fail in any way
        raise UserError(f"objective: {spec.kind}: its Spec.needs fails ({type(error).__name__}: {error})") from error
    wrong = [need for need in needs if not {"what", "side", "amount", "setting"} <= set(dir(need))]
    if wrong:
        raise UserError(f"objective: {spec.kind}: its Spec.needs gives {wrong[0]!r}, expected a list of Need(...)")
    return needs


def need_problems(config: "RunConfig") -> list[str]:
    """What the terms need and the config does not give; what it gives and no term needs."""
    problems = []
    wanted: set[tuple[str, str]] = set()
    for name, spec in config.term_specs().items():
        key = key_of(config, name)
        for group in config.groups(spec):
            needs = needs_of(spec, group)
            for need in needs:
                if need.what not in NEEDS:
                    problems.append(f"{key}: {spec.kind} needs {need.what!r}, which is none of {', '.join(NEEDS)}")
                wanted.add((need.what, need.side))
                asked = {other.what for other in needs if other.side == need.side}
                problem = _unmet(config, need.what, need.side, need.amount, asked)
                if problem:
                    told = f"{key}.{need.setting}: {need.what}" if need.setting else f"{key}: {spec.kind}"
                    problems.append(f"{told} {problem}")
        problem = _short_queue(config, spec)
        problems += [f"{key}.queue: {problem}"] * bool(problem)
    for side, target in config.targets.items():
        if side not in config.towers:
            problems.append(f"targets.{side}: not one of the towers ({', '.join(config.towers)})")
            continue
        if not config.towers[side].trains:
            problems.append(f"targets.{side}: nothing of this tower trains, so it is its own target; take it out")
        elif {("target", side), ("predicted", side)}.isdisjoint(wanted):
            problems.append(f"targets.{side}: no term of the objective asks for it; take it out")
        elif target.copies and ("target", side) not in wanted:
            problems.append(
                f"targets.{side}: no term of the objective asks for a copy of the tower, only for its predictor; "
                f"give it as {{momentum: null, predictor: ...}}"
            )
        if target.predictor is not None and ("predicted", side) not in wanted:
            problems.append(f"targets.{side}.predictor: no term of the objective asks for it; take it out")
    problems += _teacher_problems(config, {side for what, side in wanted if what == "teacher"})
    return list(dict.fromkeys(problems))


def _teacher_problems(config: "RunConfig", wanted: set[str]) -> list[str]:
    """Teachers that are no store of a frozen tower's embeddings, and those that no term asks for."""
    problems = []
    for side, teacher in config.teachers.items():
        key = f"teachers.{side}"
        if side not in config.towers:
            problems.append(f"{key}: not one of the towers ({', '.join(config.towers)})")
        elif side not in wanted:
            problems.append(f"{key}: no term of the objective asks for it; take it out")
        if not teacher.is_stored:
            problems.append(
                f"{key}.kind: {teacher.kind!r}: a teacher does not move, so it runs once and is read from a store; "
                f"set {key}={{kind: store, path: FOLDER, tower: {{kind: {teacher.kind}, ...}}}}"
            )
            continue
        if teacher.head.kind != "identity":
            problems.append(f"{key}.head: nothing of a teacher trains; leave it out")
        if teacher.views_stored > 1:
            problems.append(f"{key}.views: a teacher sees each item as it is; leave it out")
        if config.data.streaming:
            problems.append(f"data.streaming: {key} is read from a store, which holds items by id; leave streaming out")
    return problems


def _unmet(config: "RunConfig", what: str, side: str, amount: int, asked: set[str]) -> str:
    """What is wrong with a need, with the way out; "" where it is met. `asked`: all that is needed of the side."""
    if what == "views":
        known = side in config.data.modalities or side in STANDARD_MODALITIES
        given = getattr(config.modality(side), "training_views", 1) if known else 1
        if given < amount:
            kind = config.modality(side).kind if known else "image"
            augment = {"audio": ", augment: {noise: 0.1}", "image": ", augment: {flip: 0.5}"}.get(kind, "")
            whole = f"={{kind: {kind}, training_views: {amount}{augment}}}"  # as a first start: views must differ
            way_out = f".training_views={amount}" if side in config.data.modalities else whole
            return f"needs {amount} views of each item of {side}, found {given}; set data.modalities.{side}{way_out}"
    if what in ("target", "predicted"):
        return _no_target(config, side, asked)
    tower = config.towers.get(side)
    if what == "sequence" and tower is not None and not tower.head.over_sequence:
        way_out = f"set a head over sequences: towers.{side}.head={{kind: transformer}}"
        return f"needs the steps that {side}'s head pools, and its head {tower.head.kind} sees none; {way_out}"
    if what == "teacher" and side not in config.teachers:
        store = f"{{kind: store, path: FOLDER, tower: {{kind: run, path: RUN, side: {side}}}}}"
        return f"needs a teacher of {side}; set teachers.{side}={store}, or with a tower of another kind"
    if what == "codes" and tower is not None and not tower.head.gives_codes:
        return f"needs the codes of {side}; set towers.{side}.head={{kind: quantizer}}"
    if what == "store":
        return _no_store(config, side)
    return ""


def _short_queue(config: "RunConfig", spec: Any) -> str:
    """What is wrong with a queue that cannot hold one batch; "" where there is none (0), or its batches vary."""
    size, batch = queue_of(spec), config.train.batch_size
    if not size or batch is None or size >= batch:
        return ""
    return f"{size} places, and a batch has {batch}: of each batch it would drop a part; set it to at least {batch}"


def queue_of(spec: Any) -> int | None:
    """The places of a term's queue: the setting `queue`, where its kind has one."""
    size = getattr(spec, "queue", None)
    return size if isinstance(size, int) else None


def _no_target(config: "RunConfig", side: str, asked: set[str]) -> str:
    """What a side lacks of a copy of its tower and a predictor; one that never changes is its own target."""
    tower, given = config.towers.get(side), config.targets.get(side)
    trains = tower is not None and tower.trains
    copied = "target" in asked and trains
    lacking = ["a momentum target"] if copied and (given is None or not given.copies) else []
    if "predicted" in asked and not trains:
        return (
            f"needs a predictor of {side}, of which nothing trains; name the side that trains first, and one direction"
        )
    lacking += ["a predictor"] if "predicted" in asked and (given is None or given.predictor is None) else []
    if not lacking:
        return ""
    settings = [f"momentum: {'0.996' if copied else 'null'}"] + ["predictor: {kind: mlp}"] * ("predicted" in asked)
    way_out = f"={{{', '.join(settings)}}}"
    if given is not None:
        way_out = ".momentum=0.996" if lacking[0] == "a momentum target" else ".predictor={kind: mlp}"
    return f"needs {' and '.join(lacking)} of {side}; set targets.{side}{way_out}"


def _no_store(config: "RunConfig", side: str) -> str:
    """Keys and targets over a whole store ask for a side that is a store and nothing else."""
    tower = config.towers.get(side)
    if config.data.leave_out_labels:
        return (
            "does not go with data.leave_out_labels: the store also holds the captions of the classes "
            "left out, and would train on them as negatives"
        )
    if tower is None or not tower.is_stored or tower.trains:
        return f"needs towers.{side} of kind store with an identity head: other embeddings move, or are nowhere on disk"
    if tower.views_stored > 1:
        return f"goes with one view of each item: set towers.{side}.views=1"
    return ""
