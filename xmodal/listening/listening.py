"""Listen: cut a sound where people pause, embed each piece with a run's speech tower, say what it means.

Input: a `Source`, an `Understanding`, a run's encoder. Output: `Heard`, one for each piece of speech, as it ends.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from xmodal.encoding.encoder import Encoder
from xmodal.listening.segmentation import Cutting, Segment, Segmenter
from xmodal.listening.sources import Source
from xmodal.listening.understanding import Meaning, Understanding


@dataclass(frozen=True)
class Heard:
    """One piece of speech and its meaning; none of the intents where the best score is under the threshold."""

    start: float  # s
    end: float
    meaning: Meaning
    is_one: bool  # of the intents
    split: bool  # cut at its end because it was too long

    def line(self) -> str:
        """For people.

        Example:
            heard.line()  # "0:03.2-0:04.9  order_tea  0.62 (margin 0.21)  size=large"
        """
        meaning = self.meaning
        when = f"{clock(self.start)}-{clock(self.end)}"
        said = meaning.intent if self.is_one else f"none of these (nearest: {meaning.intent})"
        slots = "".join(f"  {slot}={value}" for slot, (value, _) in meaning.slots.items() if self.is_one)
        return f"{when}  {said}  {meaning.score:.2f} (margin {meaning.margin:.2f}){slots}" + "  cut here" * self.split

    def row(self) -> dict[str, Any]:
        """For JSON."""
        meaning = self.meaning
        return {
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "intent": meaning.intent if self.is_one else None,
            "nearest": meaning.intent,
            "score": round(meaning.score, 4),
            "margin": round(meaning.margin, 4),
            "slots": {name: value for name, (value, _) in meaning.slots.items()} if self.is_one else {},
            "split": self.split,
        }


@dataclass
class Listener:
    """Understands one source after another.

    Args:
        encoder: a run's.
        speech: its side of recordings.
        understanding: intents and slots.
        threshold: a best score under it is none of the intents; None: every piece has one.
        cutting: settings of the segmentation.

    Example:
        for heard in Listener(encoder, "speech", understanding).listen(from_file(Path("talk.wav"))):
            print(heard.line())
    """

    encoder: Encoder
    speech: str
    understanding: Understanding
    threshold: float | None = None
    cutting: Cutting = field(default_factory=Cutting)
    seconds: float = 0.0  # of sound so far
    busy: float = 0.0  # s spent on it, waiting for sound left out
    pieces: int = 0
    passed_over: int = 0
    loudest: float = float("-inf")  # dB of full scale

    def listen(self, source: Source) -> Iterator[Heard]:
        """What is heard, as it ends; raises what reading the source raises."""
        segmenter = Segmenter(source.rate, self.cutting)
        try:
            for block in source.blocks:
                found = self._understood(partial(segmenter.push, block), source.rate)
                self.seconds += len(block) / source.rate
                yield from found
            yield from self._understood(segmenter.finish, source.rate)
        finally:  # of a sound that is broken off too
            self.passed_over += segmenter.passed_over
            self.loudest = max(self.loudest, segmenter.loudest)

    def summary(self) -> list[str]:
        """What became of the sound, and how fast."""
        if not self.seconds:
            return ["nothing was heard"]
        factor = self.busy / self.seconds
        lines = [
            f"{clock(self.seconds)} of sound, {self.pieces} pieces of speech; real-time factor {factor:.3f} "
            f"({1 / factor:.0f} times as fast as it was said)"
        ]
        if self.passed_over:
            lines.append(f"{self.passed_over} sounds shorter than {self.cutting.shortest:g} s were passed over")
        if not self.pieces:
            lines.append(
                f"nobody speaks: the loudest moment has {self.loudest:.0f} dB of full scale, and speech begins "
                f"{self.cutting.above:g} dB over the noise and at {self.cutting.faintest:g} dB"
            )
        count = self.encoder.cut.get(self.speech, 0)
        if count:
            lines.append(f"{count} pieces are longer than the tower reads; their ends count for nothing")
        return lines

    def _understood(self, cut: Callable[[], list[Segment]], rate: int) -> list[Heard]:
        """What is meant by the pieces that `cut` gives; the time of both counts as `busy`."""
        began = time.perf_counter()
        found = [self._understand(segment, rate) for segment in cut()]
        self.busy += time.perf_counter() - began
        return found

    def _understand(self, segment: Segment, rate: int) -> Heard:
        self.pieces += 1
        z = self.encoder.encode(self.speech, [segment.samples], sample_rate=rate)
        [meaning] = self.understanding.meanings(z)
        is_one = self.threshold is None or meaning.score >= self.threshold
        return Heard(segment.start, segment.end, meaning, is_one, segment.split)


def clock(seconds: float) -> str:
    """A time of a recording: 0:03.2, 1:02:03.4."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02d}" if hours else f"{minutes}") + f":{rest // 10:02d}.{rest % 10}"
