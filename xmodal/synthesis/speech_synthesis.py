"""Texts to speech: a list of rows with texts in, 16-bit WAV files at 22050 Hz and their manifest out.

The same (seed, id, text, voices) gives the same bytes, whatever the order of the texts and the number of processes.
"""

import hashlib
import multiprocessing
import os
import re
import signal
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import soundfile

from xmodal.errors import UserError
from xmodal.files import read_json_lines, write_json_lines
from xmodal.progress import progress_bar
from xmodal.synthesis.espeak import SAMPLE_RATE, Espeak
from xmodal.synthesis.manner import TRAINING_VOICES, Manner, manner_of


def synthesize(
    rows: Sequence[Mapping[str, object]],
    manifest: Path,
    *,
    voices: Sequence[str] = TRAINING_VOICES,
    per_text: int = 1,
    seed: int = 0,
    processes: int | None = None,
    text_column: str = "text",
    places: Sequence[str] | None = None,
) -> list[dict[str, object]]:
    """Voice every row and write `manifest` (JSONL) last; the WAV files lie beside it in a folder of its name.

    A row of the manifest has all columns of its row of `rows`, and `id`, `speech` (path relative to the manifest),
    `text`, `voice`, `rate`, `pitch`, `range`. With `per_text` > 1, take k of
    a row has the id `ID-k`. A row without an `id` gets one from its text. A file's name carries a digest of what is
    said and how, and a file appears under its name only when complete: an interrupted call goes on where it stopped,
    and a call with other settings never takes another's audio for its own.

    `places` are what errors call the rows (default: row 1, row 2, ...).

    Raises UserError: no rows, no text column, an empty text, an id twice, an unknown voice, a text without sound.

    Example:
        synthesize([{"id": "a", "text": "lights on"}], Path("out/train.jsonl"))  # out/train/a-1f0c2b9e.wav
    """
    if per_text < 1:
        raise UserError(f"per_text: found {per_text}, expected at least 1")
    places = places or [f"row {number}" for number in range(1, len(rows) + 1)]
    spoken = _takes(rows, places, manifest, voices, per_text, seed, text_column)
    manifest.parent.mkdir(parents=True, exist_ok=True)
    (manifest.parent / manifest.stem).mkdir(exist_ok=True)
    with Espeak() as espeak:
        espeak.check(voices)
        jobs = [
            (str(manifest.parent / str(row["speech"])), str(row["text"]), manner)
            for row, manner in spoken
            if not (manifest.parent / str(row["speech"])).exists()
        ]
        _run(jobs, processes or os.cpu_count() or 1, espeak, manifest.stem)
    written = [row for row, _ in spoken]
    write_json_lines(manifest, written)
    return written


def synthesize_file(
    source: Path,
    folder: Path,
    *,
    voices: Sequence[str] = TRAINING_VOICES,
    per_text: int = 1,
    seed: int = 0,
    processes: int | None = None,
    text_column: str = "text",
) -> Path:
    """`synthesize` over a JSONL file; returns the manifest's path, `folder/manifest.jsonl`. Raises UserError too for
    a missing or empty file and for a line that is not a JSON object.
    """
    rows = read_json_lines(source, hint="give one object with a text a line")
    manifest = folder / "manifest.jsonl"
    synthesize(
        [row for _, row in rows], manifest, voices=voices, per_text=per_text, seed=seed, processes=processes,
        text_column=text_column, places=[place for place, _ in rows],
    )  # fmt: skip
    return manifest


def _takes(
    rows: Sequence[Mapping[str, object]],
    places: Sequence[str],
    manifest: Path,
    voices: Sequence[str],
    per_text: int,
    seed: int,
    text_column: str,
) -> list[tuple[dict[str, object], Manner]]:
    """Every utterance asked for: its row of the manifest and how it is spoken."""
    if not rows:
        raise UserError(f"{manifest}: no texts to voice")
    if not voices:
        raise UserError("voices: the list is empty; name at least one, such as en-us+f2")
    out: list[tuple[dict[str, object], Manner]] = []
    used: set[str] = set()
    for place, row in zip(places, rows, strict=True):
        if text_column not in row:
            raise UserError(f"{place}: no column {text_column!r}; found {', '.join(row)}; name it: --text-column")
        text = row[text_column]
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"{place}: column {text_column!r} is {text!r}, expected a text that is not empty")
        base = str(row["id"]) if "id" in row else hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        for take in range(per_text):
            name = base if per_text == 1 else f"{base}-{take}"
            if name in used:
                way_out = "give each row its own" if "id" in row else "the text is there twice; give the rows ids"
                raise UserError(f"{place}: id {name} is there twice; {way_out}")
            used.add(name)
            manner = manner_of(seed, base, voices, take)
            file = f"{manifest.stem}/{_file_name(name, text, manner)}"
            out.append(({**row, "id": name, "speech": file, "text": text, **vars(manner)}, manner))
    return out


def _file_name(item_id: str, text: str, manner: Manner) -> str:
    digest = hashlib.blake2b(repr((item_id, text, manner)).encode(), digest_size=4).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', item_id)[:80]}-{digest}.wav"


_Job = tuple[str, str, Manner]  # file, text, manner
_worker_espeak: Espeak | None = None


def _run(jobs: list[_Job], processes: int, espeak: Espeak, title: str) -> None:
    chunk = 50
    with progress_bar(total=len(jobs), desc=f"voicing {title}", unit="utt", disable=not jobs) as bar:
        if processes == 1 or len(jobs) < 4 * chunk:  # starting processes would take longer
            for job in jobs:
                _voice([job], espeak)
                bar.update()
            return
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(processes, context, _start_worker, (espeak.folder,))
        try:
            parts = [jobs[i : i + chunk] for i in range(0, len(jobs), chunk)]
            for done in as_completed([pool.submit(_voice, part) for part in parts]):
                bar.update(done.result())
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker(folder: Path) -> None:
    global _worker_espeak
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops the pool
    _worker_espeak = Espeak(folder)


def _voice(jobs: Sequence[_Job], espeak: Espeak | None = None) -> int:
    speaker = espeak or _worker_espeak
    assert speaker is not None
    for file, text, manner in jobs:
        samples = speaker.speak(text, manner)
        if not samples.any():
            raise UserError(f"{text!r}: espeak-ng makes no sound of this text; leave it out")
        soundfile.write(file + ".tmp", samples, SAMPLE_RATE, subtype="PCM_16", format="WAV")
        Path(file + ".tmp").replace(file)
    return len(jobs)
