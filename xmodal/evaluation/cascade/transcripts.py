"""What a recogniser hears in the recordings of a test: from a file of transcripts, or from a model that is run.

Axes: n recordings of a test.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from xmodal.data.sources.audio_bytes import waveform
from xmodal.errors import UserError
from xmodal.evaluation.cascade.transcript_cache import Transcript, TranscriptCache
from xmodal.files import read_json_lines
from xmodal.progress import progress_bar

RATE = 16_000  # Hz, of what a recogniser takes
TIMED = 32  # recordings, evenly spread, that are transcribed one by one with a clock beside them
PART = 64  # recordings: what a killed evaluation has transcribed is there for the next


class Transcribes(Protocol):
    """A recogniser of speech."""

    def transcribe(self, waves: Sequence[NDArray[np.float32]]) -> list[str]:
        """The words in waveforms [T] of 16 kHz."""
        ...


class Written(NamedTuple):
    """A file of transcripts beside a test."""

    texts: list[str | None]  # [n]; None: the file has no such id
    unknown: int  # ids of the file that the test lacks


def is_file(cascade: str) -> bool:
    """Does a cascade's name mean a file of transcripts, and not a model?"""
    return Path(cascade).suffix == ".jsonl"


def read_transcripts(path: Path, names: Sequence[str]) -> Written:
    """The transcripts of a test's items.

    Args:
        path: JSONL of `id` and `text`.
        names: [n] the items' ids.

    Raises:
        UserError: no such file, a line without id or text, an id that occurs twice, no id of the test.

    Example:
        read_transcripts(Path("whisper.jsonl"), ["a", "b"]).texts  # ["play some music", None]
    """
    found: dict[str, str] = {}
    for where, row in read_json_lines(path, hint="write one object with id and text per line"):
        name, text = row.get("id"), row.get("text")
        if name is None or isinstance(name, list | dict) or not isinstance(text, str):
            raise UserError(f"{where}: expected id and text (a string), found {', '.join(row) or 'nothing'}")
        if str(name) in found:
            raise UserError(f"{where}: id {str(name)!r} has a transcript already; keep one of them")
        found[str(name)] = text
    known = set(names)
    if not found.keys() & known:
        raise UserError(
            f"{path}: none of its {len(found)} ids (first {next(iter(found))!r}) is an id of the test (first "
            f"{names[0]!r}); give transcripts of this test's recordings"
        )
    return Written([found.get(name) for name in names], len(found.keys() - known))


def transcribed(
    sources: Sequence[Any], kept: TranscriptCache | None, load: Callable[[], Transcribes], progress: str | None = None
) -> list[Transcript]:
    """Transcripts of recordings [n]: those that are kept, and the others made anew and kept.

    `TIMED` of the new ones are heard one by one and timed, after one that is not; the others in parts.

    Args:
        sources: paths, addresses in tars, or files' bytes.
        kept: where transcripts stay; None: nowhere.
        load: gives the recogniser; called where there is something to transcribe.
        progress: title of the progress bar; none, no bar.

    Raises:
        AudioError: a recording that cannot be read.
    """
    heard = kept.find(sources) if kept is not None else {}
    new = [at for at in range(len(sources)) if at not in heard]
    if not new:
        return [heard[at] for at in range(len(sources))]
    recogniser = load()
    clocked = [new[at] for at in sorted(set(np.linspace(0, len(new) - 1, min(TIMED, len(new))).astype(int).tolist()))]
    others = sorted(set(new) - set(clocked))
    recogniser.transcribe([waveform(sources[clocked[0]], RATE)])  # the first call also sets things up
    with progress_bar(total=len(new), desc=progress, unit="items", delay=2, disable=progress is None) as bar:
        made: dict[int, Transcript] = {}
        for at in clocked:
            wave = waveform(sources[at], RATE)
            start = time.perf_counter()
            [text] = recogniser.transcribe([wave])
            made[at] = Transcript(text, time.perf_counter() - start)
            bar.update()
        heard |= _keep(kept, sources, made)
        for start_at in range(0, len(others), PART):
            part = others[start_at : start_at + PART]
            texts = recogniser.transcribe([waveform(sources[at], RATE) for at in part])
            heard |= _keep(kept, sources, dict(zip(part, map(Transcript, texts), strict=True)))
            bar.update(len(part))
    return [heard[at] for at in range(len(sources))]


def _keep(kept: TranscriptCache | None, sources: Sequence[Any], made: dict[int, Transcript]) -> dict[int, Transcript]:
    if kept is not None:
        order = list(made)
        kept.add([sources[at] for at in order], dict(enumerate(made[at] for at in order)))
    return made
