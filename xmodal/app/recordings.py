"""A recording as it was dropped or spoken, ready to be encoded: short enough, decoded, without the silence around it.

People take a second to begin and another to reach the button. Silence is sound to a tower, and mistaken for what was
said: what lies before the first and after the last speech is left out.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xmodal.data.audio import AudioError, audio_seconds, read_audio
from xmodal.errors import UserError
from xmodal.listening.segmentation import Cutting, Segmenter

LONGEST = 120  # seconds; attention over an hour would fill the memory


@dataclass(frozen=True)
class Recording:
    """Samples [T] at `rate` Hz, and lines to be read beside the answer."""

    samples: NDArray[np.float32]
    rate: int
    notes: tuple[str, ...] = ()


def read_recording(file: Path, rate: int, speech: bool) -> Recording:
    """Decode an uploaded file.

    Args:
        file: WAV, FLAC, OGG or MP3.
        rate: Hz, of the samples.
        speech: leave out the silence around what is said.

    Raises:
        UserError: no recording, a broken one, or over two minutes; it names the file alone, not its folder.

    Example:
        read_recording(Path("clip.wav"), 16_000, speech=True).notes  # ()
    """
    require_short(file)
    try:
        samples = read_audio(file, rate)
    except AudioError as error:
        raise UserError(without_folder(str(error), file)) from None
    peak = float(np.abs(samples).max())
    if not peak:
        return Recording(samples, rate, ("The recording is silent: is the microphone muted?",))
    if 20 * np.log10(peak) < Cutting().faintest:
        loudest = f"{20 * np.log10(peak):.0f} dB of full scale"
        return Recording(samples, rate, (f"Hardly anything is heard ({loudest} at most): is the microphone muted?",))
    if not speech:
        return Recording(samples, rate)
    said = spoken_part(samples, rate)
    silent = (len(samples) - len(said)) / rate
    return Recording(said, rate, (f"{silent:.1f} s of silence around it are left out.",) if silent >= 0.1 else ())


def spoken_part(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """From where somebody begins to speak to where nobody speaks any more; all of it where nobody does.

    Example:
        spoken_part(np.concatenate([silence, speech, silence]), 16_000)
    """
    segmenter = Segmenter(rate)
    found = [*segmenter.push(samples), *segmenter.finish()]
    return samples[round(found[0].start * rate) : round(found[-1].end * rate)] if found else samples


def require_short(file: Path) -> None:
    """Raise `UserError` for what is no recording, or one of over two minutes, by its header."""
    try:
        seconds = audio_seconds(file)
    except AudioError as error:
        raise UserError(f"{without_folder(str(error), file)}; expected WAV, FLAC, OGG or MP3") from None
    if seconds > LONGEST:
        raise UserError(f"{file.name}: {seconds:,.0f} s, more than the {LONGEST} s this page takes: cut it shorter")


def without_folder(message: str, file: Path) -> str:
    """A message that names an uploaded file by its name alone; where the server keeps it is nobody's business.

    Example:
        without_folder("/tmp/x/a.wav: no samples", Path("/tmp/x/a.wav"))  # "a.wav: no samples"
    """
    return message.replace(str(file), file.name)
