"""What xmodal has of objectives, as a table made of the registry: nothing in it is written twice."""

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

from xmodal.config.kinds import OBJECTIVES
from xmodal.config.yaml_text import write_yaml
from xmodal.objectives.objective import Need, Objective

_SIDES = ("image", "text")  # in the lines to paste; of one side: the first
_HEADS = {"sequence": "transformer", "codes": "quantizer"}  # a head that gives what is needed
_TOLD = {"target": "momentum target", "predicted": "predictor", "teacher": "teacher", "codes": "quantizer head"}


class Entry(NamedTuple):
    """One objective: a row of the table."""

    kind: str
    file: str  # FAMILY/MODULE, of xmodal/objectives and docs/objectives
    sides: str  # "1", "2", "1 or 2"
    needs: str  # of a run, with its default settings; where one side and two differ, both
    use: str
    cost: str
    source: str  # numbers on arXiv, or addresses
    test: str  # of tests/objectives


def entries() -> list[Entry]:
    """Every objective of xmodal's own, in the order of the registry."""
    return [_entry(kind) for kind in OBJECTIVES.own]


def markdown() -> str:
    """The table of docs/objectives/README.md."""
    lines = ["| kind | sides | needs | when to use | cost | source | test |", "|---|---|---|---|---|---|---|"]
    for entry in entries():
        sources = ", ".join(_link(source) for source in entry.source.split(", "))
        cells = [f"[`{entry.kind}`]({entry.file}.md)", entry.sides, entry.needs, entry.use, entry.cost, sources]
        cells.append(f"`{entry.test}`")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def listing() -> str:
    """Every objective in a line, by family."""
    families: dict[str, list[str]] = {}
    for entry in entries():
        families.setdefault(entry.file.partition("/")[0], []).append(f"  {entry.kind:20}{entry.use}")
    lines = [line for family, kinds in families.items() for line in (family, *kinds, "")]
    return "\n".join([*lines, "xmodal objectives KIND has one in full, and lines to paste into a config"])


def details(kind: str) -> str:
    """One objective in full: what it computes, what it needs, its settings with their defaults.

    Raises:
        UserError: there is no such kind.
    """
    spec = OBJECTIVES.spec(kind)  # says what is wrong with a class that is none
    made: type[Objective] = OBJECTIVES.find(kind)
    about = made.about
    told = inspect.cleandoc(made.__doc__ or "").partition("\n\nExample:")[0].partition("\n\nArgs:")[0]
    lines = [kind, "", *([told, ""] if told else [])]
    rows = {"when": about.use, "sides": _sides(spec), "needs": _needs(made) or "nothing", "cost": about.cost}
    rows["source"] = ", ".join(one if "://" in one else f"arXiv {one}" for one in about.source.split(", ") if one)
    rows["page"] = f"docs/objectives/{_file(made)}.md" if OBJECTIVES.is_own(kind) else ""
    lines += [f"{name + ':':9}{told}" for name, told in rows.items() if told]
    settings = {"kind": kind, **spec(kind=kind).model_dump(mode="json", exclude={"kind", "on"})}
    for count in _counts(spec):
        sides = _SIDES[:count]
        on = {"on": list(sides)} if count == 1 else {}
        beside = _beside(made, sides)
        whose = f" for {' and '.join(sides)}" if beside or made.Spec.takes[0] == 1 else ""
        what = "every setting with its default" + (", and what it needs beside it" if beside else "")
        lines += ["", f"in a config{whose}, {what}:", *_shown({"objective": settings | on, **beside})]
        if "targets" in beside:
            lines += ["", "Targets are of sides that train: a locked one is its own, so leave it out of them."]
    return "\n".join(lines)


def _shown(settings: dict[str, Any]) -> list[str]:
    return ["", *(f"    {line}" for line in write_yaml(settings).rstrip().split("\n"))]


def _beside(made: type[Objective], sides: tuple[str, ...]) -> dict[str, Any]:
    """What else of a config the needs of an objective ask for, on these sides: as a first start."""
    found: dict[str, Any] = {}
    for need in made.Spec().needs(*sides):
        side = need.side
        if need.what == "views":
            views = {"kind": "image", "training_views": need.amount, "augment": {"flip": 0.5}}
            found.setdefault("data", {}).setdefault("modalities", {})[side] = views
        elif need.what == "target":
            found.setdefault("targets", {}).setdefault(side, {})["momentum"] = 0.996
        elif need.what == "predicted":
            target = found.setdefault("targets", {}).setdefault(side, {"momentum": None})
            target["predictor"] = {"kind": "mlp"}
        elif need.what == "teacher":
            run = {"kind": "run", "path": "RUN", "side": side}
            found.setdefault("teachers", {})[side] = {"kind": "store", "path": "FOLDER", "tower": run}
        elif need.what in _HEADS:
            found.setdefault("towers", {})[side] = {"head": {"kind": _HEADS[need.what]}}
    if made.outer_parameters is not Objective.outer_parameters:
        found["train"] = {"step": "bilevel"}
    return found


def _link(source: str) -> str:
    return f"[paper]({source})" if source.startswith("https:") else f"[{source}](https://arxiv.org/abs/{source})"


def _entry(kind: str) -> Entry:
    made: type[Objective] = OBJECTIVES.find(kind)
    file, about = _file(made), made.about
    family, _, module = file.partition("/")
    test = f"{family}/{about.test or f'test_{module}.py'}"
    return Entry(kind, file, _sides(made.Spec), _needs(made), about.use, about.cost, about.source, test)


def _file(made: type[Objective]) -> str:
    """FAMILY/MODULE of one of xmodal's own."""
    family, module = made.__module__.split(".")[-2:]
    return f"{family}/{module}"


def _sides(spec: Any) -> str:
    least, most = spec.takes
    return str(least) if least == most else f"{least} or {most}" if most == least + 1 else f"{least} or more"


def _counts(spec: Any) -> range:
    """The numbers of sides it takes, up to two."""
    least, most = spec.takes
    return range(least, min(most, 2) + 1)


def _needs(made: type[Objective]) -> str:
    told = {count: _told(made.Spec().needs(*"ab"[:count])) for count in _counts(made.Spec)}
    if len(set(told.values())) == 1:
        return next(iter(told.values()))
    return "; ".join(f"of {'one side' if count == 1 else 'two'}: {needs or 'nothing'}" for count, needs in told.items())


def _told(needs: Sequence[Need]) -> str:
    found = [f"{n.amount} views" if n.what == "views" else _TOLD.get(n.what, n.what) for n in needs]
    return ", ".join(dict.fromkeys(found))
