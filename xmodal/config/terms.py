"""What must agree between the terms of a run's loss and the rest of its config, known before anything is read.

Input: a `RunConfig` whose parts are right by themselves. Output: a line for each mistake, `dotted.key: what is wrong`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xmodal.config.data import STANDARD_MODALITIES
from xmodal.config.schedule import Number, Schedule

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
ONLY = "objective"  # the name of the one term of a run that names none
_MODULE_DICT = """
    T_destination add_module apply bfloat16 buffers call_super_init children clear compile cpu cuda double dump_patches
    eval extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu items keys
    load_state_dict modules mtia named_buffers named_children named_modules named_parameters parameters pop
    register_backward_hook register_buffer register_forward_hook register_forward_pre_hook register_full_backward_hook
    register_full_backward_pre_hook register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module
    register_parameter register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ set_extra_state
    set_submodule share_memory state_dict to to_empty train training type update values xpu zero_grad
"""
RESERVED = frozenset(_MODULE_DICT.split())  # what torch's ModuleDict is asked for by name; a test compares them
SETTINGS = ("kernel", "kind", "on", "temperature", "weight")  # of an objective: such a term would pass for one


def default_pairs(towers: Mapping[str, Any], pairs: Sequence[Sequence[str]]) -> tuple[tuple[str, str], ...]:
    """(trainable, guide) sides. For two towers: the locked one guides; both unlocked: the second guides."""
    if pairs or len(towers) != 2:
        return tuple((pair[0], pair[1]) for pair in pairs)
    first, second = towers
    one, other = towers[first], towers[second]
    if not one.trains or (one.is_locked and not other.is_locked):
        first, second = second, first
    return ((first, second),)


def groups_of(config: Mapping[str, Any], towers: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The sides that a run's terms compare, from its config as plain values; their kinds need not be known."""
    objective = config.get("objective") or {}
    terms = [objective] if not objective or isinstance(objective.get("kind"), str) else list(objective.values())
    pairs = default_pairs(towers, config.get("pairs") or ())
    named = [tuple(term["on"]) for term in terms if term.get("on")]
    groups = [*named, *(pairs if len(named) < len(terms) else ())]
    alone = [(side,) for side in towers if not any(side in group for group in groups)]
    return [*groups, *alone]


def key_of(config: "RunConfig", name: str) -> str:
    """The dotted key of a term."""
    return "objective" if name == ONLY and ONLY not in _named(config) else f"objective.{name}"


def _named(config: "RunConfig") -> Any:
    return config.objective if isinstance(config.objective, dict) else ()


def term_problems(config: "RunConfig") -> list[str]:
    """Names, sides and numbers of sides of the terms; towers that no term uses."""
    problems = []
    used: set[str] = set()
    for name, spec in config.term_specs().items():
        key = key_of(config, name)
        if not re.fullmatch(r"[A-Za-z]\w*", name) or name in RESERVED or name in SETTINGS:
            problems.append(f"{key}: {name!r}: expected the name of a term, such as align: letters, digits and _")
        if name == ONLY and len(config.term_specs()) > 1:
            problems.append(
                f"{key}: {name!r} is what the one term of a run is called; give each of several another name"
            )
        unknown = [side for side in spec.on or () if side not in config.towers]
        problems += [f"{key}.on: {side!r} is not one of the towers ({', '.join(config.towers)})" for side in unknown]
        if spec.on is not None and len(set(spec.on)) < len(spec.on):
            problems.append(f"{key}.on: {list(spec.on)} names a side twice; views of one side: on: [{spec.on[0]}]")
        if spec.on is None and not config.pairs and len(config.towers) != 2:
            problems.append(
                f"pairs: {len(config.towers)} towers need their pairs named, as [[trainable, guide], ...]"
                if len(config.towers) > 2
                else f"{key}.on: one tower makes no pair; name its side, as on: [{next(iter(config.towers))}]"
            )
        least, most = spec.takes
        for group in config.groups(spec):
            used.update(group)
            if not least <= len(group) <= most:
                wanted = f"{least}" if least == most else f"{least} to {most}"
                problems.append(f"{key}: {spec.kind} is for {wanted} sides, found {len(group)} ({', '.join(group)})")
            elif not unknown and not any(config.towers[side].trains for side in group if side in config.towers):
                problems.append(f"{key}.on: nothing of the towers {', '.join(group)} trains")
    if all(never_counts(spec.weight) for spec in config.term_specs().values()):
        first = key_of(config, next(iter(config.term_specs())))
        problems.append(f"{first}.weight: 0, and no other term counts: nothing would train; set it above 0")
    if not problems:
        problems = [
            f"towers.{side}: is in no pair and no term of the objective uses it; name it in pairs, or in a term's "
            "`on`, or take it out"
            for side in config.towers
            if side not in used
        ]
    return problems


def never_counts(weight: Number) -> bool:
    """Is a term's weight 0 from the first step to the last?"""
    return (weight.start, weight.to or 0.0) == (0.0, 0.0) if isinstance(weight, Schedule) else weight == 0


def need_problems(config: "RunConfig") -> list[str]:
    """What the terms need and the config does not give; what it gives and no term needs."""
    problems = []
    wanted: set[tuple[str, str]] = set()
    for name, spec in config.term_specs().items():
        key = key_of(config, name)
        for group in config.groups(spec):
            needs = spec.needs(*group)
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


def auto_term(config: "RunConfig") -> str | None:
    """The term whose kernel is to be chosen (`kernel: {kind: auto}`), if there is one."""
    return next((name for name, spec in config.term_specs().items() if _is_auto(spec)), None)


def _is_auto(spec: Any) -> bool:
    return getattr(getattr(spec, "kernel", None), "kind", None) == "auto"


def auto_problems(config: "RunConfig") -> list[str]:
    """A kernel that is to be chosen, and no dev split to choose it on, or no stored features to look at."""
    terms = [name for name, spec in config.term_specs().items() if _is_auto(spec)]
    if not terms:
        return []
    spec = config.term_specs()[terms[0]]
    key, kernel = f"{key_of(config, terms[0])}.kernel", spec.kernel
    if len(terms) > 1:
        return [f"{key_of(config, terms[1])}.kernel: auto is chosen for one term of a run, and {terms[0]} has it too"]
    problems = []
    if kernel.dev.partition("/")[0] not in config.evaluators:
        there = ", ".join(config.evaluators) or "none"
        problems.append(
            f"{key}.dev: {kernel.dev!r} is none of the evaluators ({there}); name the one to choose on, which is then "
            "no test, as dev: EVALUATOR or EVALUATOR/METRIC"
        )
    if getattr(spec, "scope", "batch") != "batch":
        problems.append(f"{key}: auto looks at targets over batches; set {key_of(config, terms[0])}.scope=batch")
    for guide in {group[-1]: None for group in config.groups(spec)}:
        tower = config.towers.get(guide)
        if tower is not None and (not tower.is_stored or tower.holds_sequences):
            found = "a store of sequences" if tower.is_stored else f"of kind {tower.kind}"
            problems.append(
                f"{key}: auto looks at stored vectors of the guide, and towers.{guide} is {found}; read it from a "
                f"store (towers.{guide}.kind: store) without a head over sequences, or name a kernel"
            )
    for name, tower in config.towers.items():
        rests = getattr(tower, "unfreeze_after", 0)
        if rests >= kernel.steps:
            problems.append(
                f"{key}.steps: {kernel.steps}, and towers.{name}.unfreeze_after is {rests}: its backbone would rest "
                "through the short runs; set more steps"
            )
    return problems
