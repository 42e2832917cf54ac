"""Clips of background noise, one second each, cut from longer recordings: what a keyword spotter must not react to.

Where they are cut depends on the recordings' lengths and the number of clips alone. Clips of the first 80% of each
recording are for training, those of the rest for choosing settings: no sample is in both.
"""

from collections.abc import Sequence
from pathlib import Path

import soundfile

from xmodal.corpora.audio_manifest import Row
from xmodal.data.unusable import Bad
from xmodal.files import written_whole

LABEL = "_silence_"
SECONDS = 1.0
TRAIN_SHARE = 0.8  # of each recording, from its beginning


def silence_rows(recordings: Sequence[Path], folder: Path, part: str, count: int, skipped: list[Bad]) -> list[Row]:
    """`count` clips of noise, evenly over the recordings and over their stretch for this part, as WAV in `folder`.

    Args:
        recordings: long ones; those shorter than a clip, or that cannot be read, are left out.
        folder: for the clips, `PART_NAME_NUMBER.wav`.
        part: train or dev.
        count: how many; they overlap where there is less noise.
        skipped: is told of recordings that cannot be used.

    Example:
        silence_rows(sorted((root / "_background_noise_").glob("*.wav")), out / "silence", "dev", 371, skipped)
    """
    stretches = [each for each in (_stretch(file, part, skipped) for file in recordings) if each]
    rows: list[Row] = []
    for number, (file, first, last, rate) in enumerate(stretches):
        length = int(SECONDS * rate)
        here = count * (number + 1) // len(stretches) - count * number // len(stretches)
        with soundfile.SoundFile(file) as noise:
            for at in range(here):
                start = first + (last - first - length) * at // max(here - 1, 1)
                noise.seek(start)
                path = folder / f"{part}_{file.stem}_{at:04d}.wav"
                samples = noise.read(length, dtype="int16")
                with written_whole(path) as beside:
                    soundfile.write(beside, samples, rate, format="WAV", subtype="PCM_16")
                rows.append({"id": path.stem, "speech": path, "text": "", "label": LABEL, "source": file.stem})
    return rows


def _stretch(file: Path, part: str, skipped: list[Bad]) -> tuple[Path, int, int, int] | None:
    """The first and the last sample of a recording that belong to a part, and its sample rate."""
    try:
        info = soundfile.info(file)
    except (soundfile.SoundFileError, OSError) as error:
        skipped.append((str(file), f"cannot be read ({error})"))
        return None
    cut = int(TRAIN_SHARE * info.frames)
    first, last = (0, cut) if part == "train" else (cut, info.frames)
    if last - first < SECONDS * info.samplerate:
        skipped.append((str(file), f"{info.duration:.1f} s: too short to cut a clip of {SECONDS:g} s for {part}"))
        return None
    return file, first, last, info.samplerate
