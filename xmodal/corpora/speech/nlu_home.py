"""8,847 home-assistant utterances (text) with 64 intents: training text for spoken-intent runs.

Input: a folder holding `utterances.jsonl` with rows `{id, scenario, action, text}` (CC BY 4.0; the sentences of
SLURP devel and test are not among them). Output: `texts.jsonl`, to be voiced by `xmodal synthesize`; it
also serves as the sentences behind class means.
"""

from pathlib import Path

from xmodal.corpora.image_manifest import evenly
from xmodal.corpora.speech.rows import read_rows
from xmodal.errors import UserError
from xmodal.files import write_json_lines

UTTERANCES = 8847
INTENTS = 64


def prepare(root: Path, out: Path, limit: int | None = None) -> dict[Path, int]:
    """Write `OUT/texts.jsonl` (`id`, `text`, `label`).

    The label is `scenario + "_" + action`, as SLURP's intents are. With a limit the rows are taken evenly over the
    file, which is sorted by intent.

    Raises:
        UserError: the file is missing or broken, ids or sentences occur twice, or the counts are not the corpus'.

    Example:
        prepare(Path("data/nlu_home"), Path("runs/data/nlu_home"))
    """
    path = root / "utterances.jsonl"
    rows = read_rows(path, ("id", "scenario", "action", "text"))
    labels = [f"{row['scenario']}_{row['action']}" for row in rows]
    counts = {
        "utterances": (len(rows), UTTERANCES),
        "distinct ids": (len({row["id"] for row in rows}), UTTERANCES),
        "distinct sentences": (len({row["text"] for row in rows}), UTTERANCES),
        "intents": (len(set(labels)), INTENTS),
    }
    wrong = [f"{path}: found {n} {what}, expected {m}" for what, (n, m) in counts.items() if n != m]
    if wrong:
        raise UserError("\n".join(f"{line}; is the file complete and unchanged?" for line in wrong))
    kept = evenly(len(rows), limit)
    texts = [{"id": str(rows[i]["id"]), "text": rows[i]["text"], "label": labels[i]} for i in kept]
    return {out / "texts.jsonl": write_json_lines(out / "texts.jsonl", texts)}
