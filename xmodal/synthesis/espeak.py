"""One text to samples with espeak-ng: 16-bit samples at 22050 Hz.

espeak-ng (GPL-3) is never part of xmodal: the package `espeakng-loader` brings its library, which is loaded at run
time, in process, through ctypes, and only by this module.

The same text spoken in the same manner gives the same bytes. espeak keeps state between utterances (pitch flutter,
gain, the random numbers of breathy voices, the last durations) and has no call that resets it, so every utterance is
spoken by a freshly loaded copy of the library. What made that slow was that each copy reads its 240 voice files; it is
given a folder of links in which names resolve at once (measured: 225 utterances/s against 640 on one core, same bytes).
"""

import _ctypes
import ctypes
import os
import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xmodal.errors import UserError
from xmodal.synthesis.manner import Manner

SAMPLE_RATE = 22050  # Hz, espeak's own

_SYNCHRONOUS, _DO_NOT_EXIT, _UTF8, _CHARACTERS = 2, 0x8000, 1, 1
_RATE, _PITCH, _RANGE = 1, 3, 4  # espeak_PARAMETER
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_ONE_AT_A_TIME = threading.Lock()  # the library's state is global


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


def _link(file: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    try:
        link.symlink_to(file)
    except OSError:  # Windows without the right to make links
        shutil.copyfile(file, link)


def _unload(library: ctypes.CDLL) -> None:
    close = getattr(_ctypes, "dlclose", None) or _ctypes.FreeLibrary  # type: ignore[attr-defined]
    close(library._handle)
