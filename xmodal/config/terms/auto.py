"""The term whose kernel is to be chosen (`kernel: {kind: auto}`), and what it needs of the rest of the config."""

from typing import TYPE_CHECKING, Any

from xmodal.config.terms.terms import key_of

if TYPE_CHECKING:
    from xmodal.config.schema import RunConfig


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
