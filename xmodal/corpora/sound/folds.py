"""Manifests of a corpus that is tested by folds: for each fold the others to train on, and itself as the test."""

from collections.abc import Sequence
from pathlib import Path

from xmodal.corpora.audio_manifest import Row, usable, write_names, write_rows
from xmodal.corpora.image_manifest import evenly
from xmodal.data.unusable import Bad
from xmodal.errors import UserError


def write_folds(
    out: Path, rows: Sequence[Row], skipped: list[Bad], folds: Sequence[int], limit: int | None
) -> dict[Path, int]:
    """Write `OUT/foldN_train.jsonl` and `OUT/foldN_test.jsonl` for each fold, `OUT/all.jsonl` and `OUT/names.json`.

    What was left out is listed beside `all.jsonl`. The clips of one recording are in one fold, so rows must never be
    mixed and split anew.

    Args:
        out: for the manifests.
        rows: `id`, `audio` (the file), `label`, `fold`.
        skipped: items left out so far.
        folds: those of the corpus; each must have clips.
        limit: rows of each manifest, evenly over all.

    Raises:
        UserError: a fold without clips.

    Example:
        write_folds(out, rows, skipped, range(1, 6), limit=None)
    """
    kept = usable(rows, "audio", out / "all.jsonl", skipped)
    empty = [fold for fold in folds if all(row["fold"] != fold for row in kept)]
    if empty:
        raise UserError(
            f"{out}: fold {', '.join(map(str, empty))} has no clip that can be used ({len(kept)} clips in the others, "
            f"{len(skipped)} left out); unpack the corpus again, whole"
        )
    written = write_rows(out / "all.jsonl", _some(kept, limit), skipped)
    for fold in folds:
        for part in ("train", "test"):
            chosen = [row for row in kept if (row["fold"] == fold) == (part == "test")]
            written |= write_rows(out / f"fold{fold}_{part}.jsonl", _some(chosen, limit), [])
    return written | write_names(out / "names.json", [row["label"] for row in kept])


def _some(rows: Sequence[Row], limit: int | None) -> list[Row]:
    return [rows[at] for at in evenly(len(rows), limit)]
