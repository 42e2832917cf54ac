"""What must agree between the terms of a run's loss and the rest of its config, known before anything is read.

Input: a `RunConfig` whose parts are right by themselves. Output: a line for each mistake, `dotted.key: what is wrong`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xmodal.config.schedule import Number, Schedule

if TYPE_CHECKING:
    from xmodal.config.schema import RunConfig

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
