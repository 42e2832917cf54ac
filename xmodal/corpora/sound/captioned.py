"""Sounds with captions: a row a clip to train on, a row a caption to test retrieval with.

In training `text` is the list of a clip's captions, one of which is drawn in every epoch. In a test every caption is a
query of its own: rows have `audio_id` and `text_id`, so that the captions of one clip are known to be of one clip.
"""

from collections.abc import Sequence
from pathlib import Path

from xmodal.corpora.audio_manifest import Row, usable, write_rows
from xmodal.corpora.image_manifest import evenly
from xmodal.data.unusable import Bad


def write_captioned(
    path: Path, clips: Sequence[Row], skipped: list[Bad], limit: int | None, by_caption: bool
) -> dict[Path, int]:
    """Write one manifest of captioned clips.

    Args:
        path: the manifest, JSONL.
        clips: `id`, `audio` (the file), `text` (its captions, at least one).
        skipped: items left out so far; those whose file cannot be used are added.
        limit: keep so many clips, evenly over all.
        by_caption: a row for each caption.

    Raises:
        UserError: there would be no row.

    Example:
        write_captioned(out / "test.jsonl", clips, skipped, None, by_caption=True)
    """
    rows = usable([clips[at] for at in evenly(len(clips), limit)], "audio", path, skipped)
    if by_caption:
        rows = [
            {**row, "id": name, "text": text, "audio_id": row["id"], "text_id": name}
            for row in rows
            for name, text in ((f"{row['id']}#{number}", text) for number, text in enumerate(row["text"]))
        ]
    return write_rows(path, rows, skipped)
