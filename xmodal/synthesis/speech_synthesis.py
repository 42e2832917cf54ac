"""Text to speech with espeak-ng: a list of texts enters, 16-bit WAV files at 22050 Hz and their manifest leave.

espeak-ng (GPL-3) is never part of xmodal: the package `espeakng-loader` brings its library, which is loaded at run
time, in process, through ctypes, and only by this module.

The same (seed, id, text, voices) gives the same bytes, whatever the order of the texts and the number of processes.
espeak keeps state between utterances (pitch flutter, gain, the random numbers of breathy voices, the last durations)
and has no call that resets it, so every utterance is spoken by a freshly loaded copy of the library. What made that
slow was that each copy reads its 240 voice files; it is given a folder of links in which names resolve at once
(measured: 225 utterances/s against 640 on one core, same bytes).
"""

import _ctypes
import ctypes
import hashlib
import multiprocessing
import os
import re
import shutil
import signal
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from xmodal.errors import UserError
from xmodal.files import read_json_lines, write_json_lines

SAMPLE_RATE = 22050  # Hz, espeak's own

_ACCENTS = ("en", "en-us", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-us-nyc")
_TIMBRES = ("", "+m1", "+m2", "+m3", "+m4", "+m5", "+f1", "+f2", "+f3", "+f5")
TRAINING_VOICES = tuple(accent + timbre for accent in _ACCENTS for timbre in _TIMBRES)
HELD_OUT_VOICES = ("en-us+f4", "en-gb-x-gbclan+m7")  # another timbre; another accent and timbre

_SYNCHRONOUS, _DO_NOT_EXIT, _UTF8, _CHARACTERS = 2, 0x8000, 1, 1
_RATE, _PITCH, _RANGE = 1, 3, 4  # espeak_PARAMETER
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_ONE_AT_A_TIME = threading.Lock()  # the library's state is global


@dataclass(frozen=True)
class Manner:
    """How one utterance is spoken. `rate` in words per minute; `pitch` and `range` 0..99, 50 is the voice's own."""

    voice: str
    rate: int = 175
    pitch: int = 50
    range: int = 50


def manner_of(seed: int, item_id: str, voices: Sequence[str] = TRAINING_VOICES, take: int = 0) -> Manner:
    """The voice, rate (140..210), pitch (25..75) and range (30..70) of one take of one id: a pure function of these.

    Takes of one id go through `voices` in turn, so `len(voices)` takes use every voice once.

    Example:
        manner_of(0, "lights-7").rate  # the same on every machine
    """
    first = int.from_bytes(hashlib.blake2b(f"{seed}\0{item_id}".encode(), digest_size=8).digest(), "little")
    draws = hashlib.blake2b(f"{seed}\0{item_id}\0{take}".encode(), digest_size=12).digest()
    rate, pitch, spread = (int.from_bytes(draws[i : i + 4], "little") for i in (0, 4, 8))
    return Manner(
        voices[(first + take) % len(voices)], rate=140 + rate % 71, pitch=25 + pitch % 51, range=30 + spread % 41
    )


def _espeak_files() -> tuple[Path, Path]:
    try:
        import espeakng_loader
    except ImportError as error:
        raise UserError("espeakng_loader is not installed; run: pip install 'xmodal[demo]'") from error
    return Path(espeakng_loader.get_library_path()), Path(espeakng_loader.get_data_path())


class Espeak:
    """espeak-ng in this process. Use as a context manager: it owns a small folder of links to espeak's data.

    Raises UserError when espeakng-loader is missing or the library does not start.

    Example:
        with Espeak() as espeak:
            samples = espeak.speak("turn on the lights", Manner("en-us+f2"))  # int16 [T] at 22050 Hz
    """

    def __init__(self, folder: Path | None = None) -> None:
        """`folder`: one that another Espeak already made and keeps; without it, this one makes and removes its own."""
        library, data = _espeak_files()
        self._owned = folder is None
        self.folder = folder or _link_data(library, data)
        self._library = self.folder / library.name
        self._languages = sorted(f.name for f in (self.folder / "lang").iterdir())
        self._variants = sorted(f.name for f in (self.folder / "voices" / "!v").iterdir())
        self._chunks: list[bytes] = []
        self._callback = _CALLBACK(self._receive)

    def __enter__(self) -> "Espeak":
        return self

    def __exit__(self, *_: object) -> None:
        if self._owned:
            shutil.rmtree(self.folder, ignore_errors=True)

    def check(self, voices: Sequence[str]) -> None:
        """Raise UserError for a voice that is not there: espeak itself ignores an unknown variant in silence."""
        if not voices:
            raise UserError("voices: the list is empty; name at least one, such as en-us+f2")
        for voice in voices:
            language, plus, variant = voice.partition("+")
            if language not in self._languages:
                near = [name for name in self._languages if name[:2] == language[:2].lower()] or self._languages
                raise UserError(f"voice {voice}: no language {language}; there are {', '.join(near)}")
            if plus and variant not in self._variants:
                raise UserError(f"voice {voice}: no variant {variant}; there are {', '.join(self._variants)}")

    def speak(self, text: str, manner: Manner) -> np.ndarray:
        """One utterance: int16 [T] at 22050 Hz, untrimmed (espeak adds 0.05 s of silence before and none after)."""
        self.check([manner.voice])
        with _ONE_AT_A_TIME:
            library = ctypes.CDLL(str(self._library))
            try:
                rate = library.espeak_Initialize(_SYNCHRONOUS, 0, os.fsencode(self.folder), _DO_NOT_EXIT)
                if rate != SAMPLE_RATE:
                    raise UserError(f"espeak-ng did not start from {self._library} (answer {rate})")
                self._chunks = []
                library.espeak_ng_SetRandSeed(ctypes.c_long(1))
                library.espeak_SetSynthCallback(self._callback)
                library.espeak_SetVoiceByName(manner.voice.encode())
                for parameter, value in ((_RATE, manner.rate), (_PITCH, manner.pitch), (_RANGE, manner.range)):
                    library.espeak_SetParameter(parameter, value, 0)
                data = text.encode()
                library.espeak_Synth(data, ctypes.c_size_t(len(data) + 1), 0, _CHARACTERS, 0, _UTF8, None, None)
            finally:
                library.espeak_Terminate()
                _unload(library)
            return np.frombuffer(b"".join(self._chunks), dtype=np.int16)

    def _receive(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, _: object) -> int:
        if samples and count:
            self._chunks.append(ctypes.string_at(samples, 2 * count))
        return 0


def _link_data(library: Path, data: Path) -> Path:
    """espeak's data, linked so that a voice's name is its file's: no search through every voice at each load.

    A voice is LANGUAGE or LANGUAGE+VARIANT; espeak folds the language's case before it looks for the file. The new
    folder's path is short as well: espeak cuts paths beyond 160 characters. The library is copied, not linked: were
    the loader's own file loaded by anybody else in this process, our unloading it would not make it fresh.
    """
    folder = Path(tempfile.mkdtemp(prefix="xmodal-espeak-"))
    shutil.copyfile(library, folder / library.name)
    for file in data.iterdir():
        if file.is_file():
            _link(file, folder / file.name)
    for file in (data / "lang").rglob("*"):
        if file.is_file():
            _link(file, folder / "lang" / file.name.lower())
    for file in (data / "voices" / "!v").iterdir():
        _link(file, folder / "voices" / "!v" / file.name)
    return folder


def _link(file: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        place.symlink_to(file)
    except OSError:  # Windows without the right to make links
        shutil.copyfile(file, place)


def _unload(library: ctypes.CDLL) -> None:
    close = getattr(_ctypes, "dlclose", None) or _ctypes.FreeLibrary  # type: ignore[attr-defined]
    close(library._handle)


def synthesize(
    rows: Sequence[Mapping[str, object]],
    manifest: Path,
    *,
    voices: Sequence[str] = TRAINING_VOICES,
    per_text: int = 1,
    seed: int = 0,
    processes: int | None = None,
    text_column: str = "text",
) -> list[dict[str, object]]:
    """Voice every row and write `manifest` (JSONL) last; the WAV files lie beside it in a folder of its name.

    A row of the manifest has all columns of its row of `rows`, and `id`, `speech` (path relative to the manifest),
    `text`, `voice`, `rate`, `pitch`, `range`. With `per_text` > 1, take k of a row has the id `ID-k`. A row without
    an `id` gets one from its text. A file's name carries a digest of what is said and how, and a file appears under
    its name only when complete: an interrupted call goes on where it stopped, and a call with other settings never
    takes another's audio for its own.

    Raises UserError: no rows, no text column, an empty text, an id twice, an unknown voice, a text without sound.

    Example:
        synthesize([{"id": "a", "text": "lights on"}], Path("out/train.jsonl"))  # out/train/a-1f0c2b9e.wav
    """
    if per_text < 1:
        raise UserError(f"per_text: found {per_text}, expected at least 1")
    spoken = _takes(rows, manifest, voices, per_text, seed, text_column)
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
    rows = [row for _, row in read_json_lines(source, hint="give one object with a text a line")]
    manifest = folder / "manifest.jsonl"
    synthesize(
        rows, manifest, voices=voices, per_text=per_text, seed=seed, processes=processes, text_column=text_column
    )
    return manifest


def _takes(
    rows: Sequence[Mapping[str, object]],
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
    for number, row in enumerate(rows, start=1):
        if text_column not in row:
            raise UserError(f"row {number}: no column {text_column!r}; found {', '.join(row)}; name it: --text-column")
        text = row[text_column]
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"row {number}: column {text_column!r} is {text!r}, expected a text that is not empty")
        base = str(row["id"]) if "id" in row else hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        for take in range(per_text):
            name = base if per_text == 1 else f"{base}-{take}"
            if name in used:
                way_out = "give each row its own" if "id" in row else "the text is there twice; give the rows ids"
                raise UserError(f"row {number}: id {name} is there twice; {way_out}")
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
    with tqdm(total=len(jobs), desc=f"voicing {title}", unit="utt", disable=not jobs) as bar:
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
