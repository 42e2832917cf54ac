"""A run's model card: what it is, how to use it, what was measured and what that says, what it was made of."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xmodal.hub.client import own_version
from xmodal.hub.described import Side, objectives_of
from xmodal.hub.metadata import header
from xmodal.hub.names import HUB
from xmodal.hub.request import CardRequest
from xmodal.report.cells import interval, number
from xmodal.report.markdown import markdown_table
from xmodal.report.report import Report

_FOLDED = 40  # rows; the numbers of a longer report are folded away
_ITEMS = {"text": '["turn on the lights", "play some jazz"]', "audio": '["clip.wav"]', "image": '["photo.jpg"]'}
_SAID = {"text": "texts", "audio": "sounds", "image": "images"}
_MARK = re.compile(r"<!-- written by xmodal \S+, sha256:([0-9a-f]{64}) -->\s*\Z")


def model_card(
    config: Mapping[str, Any], sides: Sequence[Side], report: Report | None, request: CardRequest, repository: str
) -> str:
    """The whole README.md, with its YAML header.

    Args:
        config: of the run, as `read_run` gives it.
        sides: of the run.
        report: of the run; None where nothing was measured.
        request: what was said with the push.
        repository: OWNER/NAME.
    """
    records = report.records if report else []
    name = repository.partition("/")[2]
    parts = [
        f"---\n{header(config, sides, records, request, name)}\n---",
        f"# {name}",
        _opening(config, sides),
        "## Use it",
        _use(sides, repository),
        "## What it can do",
        _measured(report),
        "## How it was made",
        _made(config, sides),
        "## Licence",
        _licence(sides, request),
    ]
    text = "\n\n".join(part for part in parts if part) + "\n"
    return f"{text}\n<!-- written by xmodal {own_version()}, sha256:{_digest(text)} -->\n"


def is_own_card(text: str) -> bool:
    """Did xmodal write this card, and has nobody edited it since?"""
    found = _MARK.search(text)
    return found is not None and _digest(text[: found.start()].removesuffix("\n")) == found[1]


def usage(sides: Sequence[Side], repository: str) -> str:
    """Python that loads the model and encodes an item of each side."""
    lines = ["import xmodal", "", f'encoder = xmodal.load("{HUB}{repository}")']
    lines += [
        f'{_variable(side.name)} = encoder.encode("{side.name}", {_ITEMS[side.kind]})  # [items, D], unit norm'
        for side in sides
    ]
    if len(sides) > 1:
        lines.append(f"print({_variable(sides[0].name)} @ {_variable(sides[1].name)}.T)  # cosines")
    return "\n".join(lines)


def _opening(config: Mapping[str, Any], sides: Sequence[Side]) -> str:
    said = list(dict.fromkeys(_SAID[side.kind] for side in sides))
    locked = [side for side in sides if side.is_locked and side.head.get("kind", "identity") == "identity"]
    known = (
        f" The {locked[0].name} side is a model that did not change; the other side learned from it." if locked else ""
    )
    terms = objectives_of(config)
    how = f", trained with the objective {', '.join(terms)}" if terms else ""
    return (
        f"Embeds {' and '.join(said)} into one space{how} by [xmodal](https://pypi.org/project/xmodal/)."
        f"{known} What is alike in meaning has a high cosine: rank texts for an item, or items for a text."
    )


def _use(sides: Sequence[Side], repository: str) -> str:
    outside = sorted({kind for side in sides for kind in side.outside})
    trust = (
        f"\n\nIt needs code from outside xmodal ({', '.join(outside)}): install that package, and load with "
        "`trust_remote_code=True` if you trust it."
        if outside
        else ""
    )
    return f"    pip install xmodal\n\n```python\n{usage(sides, repository)}\n```{trust}"


def _measured(report: Report | None) -> str:
    if report is None:
        return "Nothing was measured: the run has no report."
    header_row = ("test", "metric", "value", "95% interval", "n", "chance")
    rows = [(r.dataset, r.metric, number(r.value), interval(r), f"{r.n:,}", number(r.chance)) for r in report.records]
    notes = "\n".join(f"> - {' '.join(note.split()).replace('<', '&lt;')}" for note in report.notes)
    table = markdown_table(header_row, rows, right={2, 3, 4, 5}) if rows else "Nothing was measured."
    if len(rows) > _FOLDED:
        table = f"<details><summary>{len(rows)} numbers</summary>\n\n{table}\n\n</details>"
    when = f"Measured on {report.provenance['date']}." if report.provenance.get("date") else ""
    oracle = "An oracle is the same score for the true text in the item's place."
    legend = " ".join([when, oracle if any("oracle" in row[1] for row in rows) else ""]).strip()
    return "\n\n".join(part for part in (notes, table, legend) if part)


def _made(config: Mapping[str, Any], sides: Sequence[Side]) -> str:
    train, data = config.get("train") or {}, config.get("data") or {}
    rows = [(f"{side.name} ({side.kind})", side.line) for side in sides]
    rows.append(("objective", ", ".join(objectives_of(config))))
    source = str(data.get("train") or "")
    rows.append(("training pairs", source if source.startswith("hub:") else Path(source).name))
    if train.get("steps"):
        rows.append(("steps", f"{train['steps']:,} of {train.get('batch_size')} pairs"))
    rows.append(("seed", str(config.get("seed", 0))))
    table = markdown_table(("", ""), rows, right=set())
    return f"{table}\n\nAll settings are in `config.yaml`; weights are safetensors, nothing is pickled."


def _licence(sides: Sequence[Side], request: CardRequest) -> str:
    bases = sorted({side.base_model for side in sides if side.base_model})
    own = f" Parts of it come from {', '.join(bases)}, which have licences of their own." if bases else ""
    return f"`{request.license}`.{own}"


def _variable(side: str) -> str:
    name = re.sub(r"\W", "_", side)
    return name if name.isidentifier() else f"side_{name}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
