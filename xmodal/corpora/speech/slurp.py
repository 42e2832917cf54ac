"""SLURP (Bastianelli et al., EMNLP 2020): spoken-language understanding. Its devel sentences, and its official score.

Input: the published annotations (`devel.jsonl`, `test.jsonl`; text CC BY 4.0) and prediction files. Output: the
devel sentences to be voiced, and micro-F1 of predictions. The intent is always `scenario + "_" + action`: the raw
`intent` field of the annotations differs from it on 37 test rows.
"""

from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

from xmodal.corpora.speech.rows import read_rows
from xmodal.errors import UserError
from xmodal.files import write_json, write_json_lines
from xmodal.prompts import readable

DEVEL_SENTENCES = 2033
DEVEL_INTENTS = 59


Per = Literal["sentence", "recording"]
LEVELS = ("scenario", "action", "intent")
_ITEM = {"sentence": "slurp_id", "recording": "file"}


class Outcome(NamedTuple):
    """A gold item: what it is called, its sentence, and by level whether it was predicted right; None: not at all."""

    name: str
    sentence: str
    right: dict[str, bool] | None


class Scores(TypedDict):
    """Micro-F1 by level ("scenario", "action", "intent"), shares of 1.

    `official` is over the items that have a prediction, as the published scorer does; `strict` counts the others as
    wrong. `n` gold items, `covered` of them predicted, `coverage` their share.
    """

    n: int
    covered: int
    coverage: float
    official: dict[str, float]
    strict: dict[str, float]


def prepare(root: Path, out: Path, limit: int | None = None) -> dict[Path, int]:
    """Write `OUT/devel_texts.jsonl` and `OUT/names.json` (label to readable name).

    Columns: `id` (the slurp_id), `text`, `label`, `cluster` (the first slurp_id with these words: intervals are
    clustered by it, and one sentence occurs twice). Rows keep the corpus' order, which is mixed.

    Raises:
        UserError: the file is missing or broken, an id occurs twice, or the counts are not those of SLURP devel.

    Example:
        prepare(Path("data/slurp"), Path("runs/data/slurp"))
    """
    path = root / "devel.jsonl"
    gold = read_rows(path, ("slurp_id", "sentence", "scenario", "action"))
    first: dict[str, str] = {}
    rows = [
        {
            "id": str(row["slurp_id"]),
            "text": row["sentence"],
            "label": _levels(row, f"{path}: slurp_id {row['slurp_id']}")["intent"],
            "cluster": first.setdefault(row["sentence"], str(row["slurp_id"])),
        }
        for row in gold
    ]
    labels = sorted({row["label"] for row in rows})
    counts = {
        "sentences": (len(rows), DEVEL_SENTENCES),
        "distinct slurp_ids": (len({row["id"] for row in rows}), DEVEL_SENTENCES),
        "intents": (len(labels), DEVEL_INTENTS),
    }
    wrong = [f"{path}: found {n} {what}, expected {m}" for what, (n, m) in counts.items() if n != m]
    if wrong:
        raise UserError("\n".join(f"{line}; is this SLURP's devel.jsonl, complete?" for line in wrong))
    names = {label: readable(label) for label in labels}
    write_json(out / "names.json", names)
    return {
        out / "devel_texts.jsonl": write_json_lines(out / "devel_texts.jsonl", rows[:limit]),
        out / "names.json": len(names),
    }


def score(gold_path: Path, predictions_path: Path, per: Per) -> Scores:
    """Micro-F1 of scenario, action and intent, as the official scorer computes them, and strictly.

    One label is predicted for each item, so micro-averaged precision, recall and F1 are all the accuracy.

    Args:
        gold_path: SLURP annotations, JSONL.
        predictions_path: JSONL of `scenario`, `action` and the item: `slurp_id` or `file`.
        per: score sentences (text systems), or their recordings (audio systems).

    Raises:
        UserError: a file is missing or broken; an item is predicted twice, is not in the gold file, or gets a scenario
            or action that is no text.

    Example:
        score(root / "test.jsonl", root / "predictions/gold_hermit_predictions.jsonl", per="sentence")
    """
    found = outcomes(gold_path, predictions_path, per)
    covered = [item for item in found if item.right is not None]
    right = {level: sum((item.right or {})[level] for item in covered) for level in LEVELS}
    return {
        "n": len(found),
        "covered": len(covered),
        "coverage": len(covered) / len(found),
        "official": {level: n / len(covered) for level, n in right.items()},
        "strict": {level: n / len(found) for level, n in right.items()},
    }


def outcomes(gold_path: Path, predictions_path: Path, per: Per) -> list[Outcome]:
    """What became of every gold item, in their order; arguments and errors are those of `score`."""
    gold: dict[str, tuple[str, dict[str, str]]] = {}
    for row in read_rows(gold_path, ("slurp_id", "scenario", "action", "recordings")):
        sentence = str(row["slurp_id"])
        names = [sentence] if per == "sentence" else _files(gold_path, row)
        gold |= dict.fromkeys(names, (sentence, _levels(row, f"{gold_path}: slurp_id {sentence}")))
    item = _ITEM[per]
    predicted: dict[str, dict[str, str]] = {}
    for row in read_rows(predictions_path, (item, "scenario", "action")):
        name = str(row[item])
        if name in predicted:
            raise UserError(f"{predictions_path}: {item} {name} is predicted twice")
        if name not in gold:
            raise UserError(f"{predictions_path}: {item} {name} is not in {gold_path}; is it the same split?")
        predicted[name] = _levels(row, f"{predictions_path}: {item} {name}")
    return [
        Outcome(name, sentence, None if name not in predicted else _right(levels, predicted[name]))
        for name, (sentence, levels) in gold.items()
    ]


def items_of(predictions_path: Path) -> Per:
    """What a prediction file predicts: sentences (`slurp_id`) or recordings (`file`); by its first row.

    Raises:
        UserError: it names neither.
    """
    row = read_rows(predictions_path, ("scenario", "action"))[0]
    if "file" in row:
        return "recording"
    if "slurp_id" in row:
        return "sentence"
    raise UserError(f"{predictions_path}: line 1: neither file nor slurp_id; found {', '.join(row)}; name the item")


def _files(path: Path, row: dict[str, Any]) -> list[str]:
    """The files of a sentence's recordings."""
    found = row["recordings"]
    if not isinstance(found, list) or not all(isinstance(each, dict) and "file" in each for each in found):
        raise UserError(
            f"{path}: slurp_id {row['slurp_id']}: recordings is {str(found)[:40]!r}, expected a list of objects with "
            "file; give the annotations as published"
        )
    return [str(each["file"]) for each in found]


def _right(gold: dict[str, str], predicted: dict[str, str]) -> dict[str, bool]:
    return {level: gold[level] == predicted[level] for level in LEVELS}


def _levels(row: dict[str, Any], where: str) -> dict[str, str]:
    scenario, action = row["scenario"], row["action"]
    for level in ("scenario", "action"):
        if not isinstance(row[level], str):
            raise UserError(f"{where}: {level} is {row[level]!r}, expected its name")
    return {"scenario": scenario, "action": action, "intent": f"{scenario}_{action}"}
