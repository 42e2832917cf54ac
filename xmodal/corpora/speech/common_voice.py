"""Common Voice (Ardila et al., LREC 2020): read sentences of volunteers, one language a folder.

Input: a language's folder as unpacked (`train.tsv`, `dev.tsv`, `test.tsv`, `validated.tsv`, `clips/*.mp3`). Output:
`OUT/SPLIT.jsonl`. The official train, dev and test share no speaker; `validated` holds all three and more.
"""

from collections.abc import Sequence
from pathlib import Path

from xmodal.corpora.audio_manifest import Row, write_audio
from xmodal.corpora.image_manifest import chosen_splits
from xmodal.corpora.splits import has_splits
from xmodal.corpora.tables import empty_values, read_table
from xmodal.data.unusable import Bad

SPLITS = ("train", "dev", "test", "validated")

_NEEDED = ("client_id", "path", "sentence", "up_votes", "down_votes")
_ABOUT = ("age", "gender", "accents", "accent", "locale")  # which of them are there depends on the release


@has_splits(*SPLITS)
def prepare(root: Path, out: Path, limit: int | None = None, splits: Sequence[str] = ()) -> dict[Path, int]:
    """Write a manifest for each split there.

    Columns: `id` (the clip's name), `speech`, `text`, `speaker` (the `client_id`), `up_votes`, `down_votes`, `seconds`,
    and `age`, `gender`, `accents`, `locale` where they are given. Left out, and listed: clips that are missing or
    cannot be read, empty sentences, rows without a speaker, votes that are no numbers.

    Raises:
        UserError: tables or clips missing, or not in Common Voice's form.

    Example:
        prepare(Path("data/cv-corpus-21.0/en"), Path("runs/data/common_voice_en"), splits=["train", "dev"])
    """
    written: dict[Path, int] = {}
    for split in chosen_splits(root, splits, {split: [f"{split}.tsv", "clips"] for split in SPLITS}):
        skipped: list[Bad] = []
        rows = [_row(root, each, skipped) for each in read_table(root / f"{split}.tsv", _NEEDED, skipped)]
        written |= write_audio(out / f"{split}.jsonl", [row for row in rows if row], skipped, limit)
    return written


def _row(root: Path, found: dict[str, str], skipped: list[Bad]) -> Row | None:
    votes = {name: found[name] for name in ("up_votes", "down_votes")}
    odd = next((f"{name} {value!r} is no number" for name, value in votes.items() if not value.isdecimal()), None)
    reason = empty_values(found, ("path", "sentence", "client_id")) or odd
    if reason:
        skipped.append((str(root / "clips" / found["path"]), reason))
        return None
    return {
        "id": Path(found["path"]).stem,
        "speech": root / "clips" / found["path"],
        "text": found["sentence"],
        "speaker": found["client_id"],
        **{name: int(value) for name, value in votes.items()},
        **{name: found[name] for name in _ABOUT if found.get(name)},
    }
