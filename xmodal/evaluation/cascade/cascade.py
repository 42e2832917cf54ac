"""The cascade of a test: transcripts through the run's text tower, to be scored with the same class vectors.

Input: an encoder, and the recordings of a test that it can read. Output: `Heard`, an embedding per recording; no
transcript, or an empty one, is no answer, and wrong. Axes: n recordings, D embedding, C classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmodal.errors import UserError
from xmodal.evaluation.cascade.transcripts import Transcribes, is_file, read_transcripts, transcribed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from xmodal.encoding.encoder import Encoder
    from xmodal.evaluation.test_sets.labelled import LabelledItems
    from xmodal.report.record import Record

FOLDER = "transcripts"  # among the kept embeddings


@dataclass(frozen=True)
class Heard:
    """What a cascade makes of recordings."""

    z: Tensor  # [n, D] embeddings of the transcripts; zeros without an answer
    answered: NDArray[np.bool_]  # [n]
    texts: list[str]  # [n] transcripts, "" without one
    seconds: list[float | None]  # [n] of transcribing, where it was timed


class Cascade:
    """A recogniser, or a file of transcripts, beside a test.

    Args:
        name: a Whisper (a folder, a name on the hub, `package:NAME/FOLDER`), or a file of transcripts (.jsonl).
        test: the recordings.
        text: the side that transcripts are encoded by.
        load: gives the recogniser by its name.

    Raises:
        UserError: transcripts that cannot be read or are of another test; a model for items that are no audio.
    """

    def __init__(
        self, name: str, test: LabelledItems, text: str, load: Callable[[str], Transcribes] | None = None
    ) -> None:
        self.name, self.test, self.text = name, test, text
        self.load = load or load_recogniser
        self.written = read_transcripts(Path(name), test.names.tolist()) if is_file(name) else None
        self._made: dict[str, tuple[str, float | None]] = {}  # id -> what was heard, for the next evaluation
        if self.written is None and test.kind != "audio":
            raise UserError(f"{test.path}: cascade: {name} transcribes audio, the items are {test.kind}; leave it out")

    def check(self) -> None:
        """Raise `UserError` where the recogniser is a folder, or in a package, that is not there."""
        if self.written is None:
            from xmodal.towers.huggingface.source import locate
            from xmodal.towers.kinds.transformers import TransformersTower

            locate(TransformersTower.Spec(name=self.name))

    def content(self) -> list[Any]:
        """What is under test of it."""
        return [self.name, None if self.written is None else self.written.texts]

    def heard(self, encoder: Encoder, test: LabelledItems, progress: str | None = None) -> Heard:
        """Transcripts of some of the recordings, encoded.

        Args:
            encoder: of the text side; transcripts are kept where it keeps embeddings.
            test: n of the recordings.
            progress: title of the progress bar.
        """
        import numpy as np
        import torch

        found = self._transcripts(encoder, test, progress)
        texts = [" ".join(text.split()) for text, _ in found]
        answered = np.array([bool(text) for text in texts])
        spoken = sorted({text for text in texts if text})
        if not spoken:
            raise UserError(f"{test.path}: cascade: {self.name} heard nothing in any of {len(test)} recordings")
        made = encoder.remember(self.text, (self, tuple(spoken)), lambda: encoder.encode(self.text, spoken))
        place = {text: at for at, text in enumerate(spoken)}
        z = torch.zeros(len(texts), made.shape[1])
        rows = torch.from_numpy(np.flatnonzero(answered))
        z[rows] = made[[place[text] for text in texts if text]].float()
        return Heard(z, answered, texts, [seconds for _, seconds in found])

    def notes(self, name: str, heard: Heard) -> list[str]:
        """What a reader must know: who transcribed, and what has no transcript."""
        silent = int((~heard.answered).sum())
        notes = [f"{name}: cascade: {self.name}."]
        if silent:
            notes[0] = (
                f"{name}: cascade: {self.name}; {silent} of {len(heard.texts)} recordings have no transcript, or an "
                "empty one, and count as wrong."
            )
        if self.written is not None and self.written.unknown:
            notes.append(f"{name}: {self.written.unknown} ids of {self.name} are none of the test's, and are ignored.")
        return notes

    def times(self, encoder: Encoder, modality: str, dataset: str, test: LabelledItems, heard: Heard) -> list[Record]:
        """Median seconds for one recording at a time: speech tower, and recogniser with text tower; [] where untimed.

        Reading and decoding the file is in neither; computing features is in both.
        """
        import numpy as np
        import torch

        from xmodal.data.sources.audio_bytes import waveform
        from xmodal.evaluation.cascade.transcripts import RATE
        from xmodal.evaluation.statistics.metrics import median_interval
        from xmodal.report.record import Record

        rows = [row for row, seconds in enumerate(heard.seconds) if seconds is not None and heard.texts[row]]
        if not rows:
            return []
        waves = [waveform(test.sources[row], RATE) for row in rows]

        def clock(side: str, items: list[Any], rate: int | None) -> list[float]:
            encoder.encode(side, items[:1], rate)  # the first call also sets things up
            seconds = []
            for item in items:
                start = time.perf_counter()
                encoder.encode(side, [item], rate)
                seconds.append(time.perf_counter() - start)
            return seconds

        speech = clock(modality, waves, RATE)
        texts = clock(self.text, [heard.texts[row] for row in rows], None)
        cascade = [(heard.seconds[row] or 0.0) + more for row, more in zip(rows, texts, strict=True)]
        context = {
            "measured_on": f"this machine, {torch.get_num_threads()} threads, one recording at a time",
            "cascade": self.name,
        }
        return [
            Record(dataset, metric, float(np.median(each)), *median_interval(each), len(each), None, context)
            for metric, each in (("seconds_speech", speech), ("seconds_cascade", cascade))
        ]

    def _transcripts(
        self, encoder: Encoder, test: LabelledItems, progress: str | None
    ) -> list[tuple[str, float | None]]:
        if self.written is not None:
            of = dict(zip(self.test.names, self.written.texts, strict=True))
            return [(of[name] or "", None) for name in test.names]
        from xmodal.data.audio import AudioError
        from xmodal.evaluation.cascade.transcript_cache import TranscriptCache

        new = [row for row, name in enumerate(test.names) if name not in self._made]
        if new:
            part = test.part(new)
            kept = TranscriptCache(encoder.cache.folder / FOLDER, self.name) if encoder.cache is not None else None
            title = progress and f"{progress}: transcripts"
            try:
                found = transcribed(list(part.sources), kept, lambda: self.load(self.name), title)
            except AudioError as error:
                raise UserError(f"{test.path}: cascade: {error}; mend the file, or leave it out of the test") from None
            self._made |= {name: tuple(heard) for name, heard in zip(part.names, found, strict=True)}
        return [self._made[name] for name in test.names]


def load_recogniser(name: str) -> Transcribes:
    """The Whisper of a cascade."""
    from xmodal.towers.huggingface.transcribe import Transcriber

    found: Transcribes = Transcriber(name)
    return found
