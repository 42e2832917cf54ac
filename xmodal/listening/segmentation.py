"""Where somebody speaks, by the loudness of short frames alone. Input: blocks of a waveform. Output: `Segment`s.

Nothing is learned and nothing is random; the result does not depend on how the waveform is divided into blocks. A frame
counts as speech where its level is `above` the noise, which is what the quietest tenth of the last `memory` seconds
reached, and above `faintest`. Speech begins with `onset` seconds of such frames and ends with a `pause` without one.
Axes: T samples.
"""

import bisect
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Waveform = NDArray[np.float32]


@dataclass(frozen=True)
class Cutting:
    """Settings; seconds, and dB of full scale."""

    frame: float = 0.02
    above: float = 12.0  # dB over the noise
    faintest: float = -55.0  # dB; nothing below it is speech
    onset: float = 0.06
    pause: float = 0.5
    around: float = 0.2  # kept before and after, so that soft first and last sounds are heard
    shortest: float = 0.15  # what is shorter is a click
    longest: float = 15.0  # what is longer is cut at its quietest frame
    memory: float = 5.0  # what the noise is estimated from
    least_memory: float = 1.5  # before it is: the beginning may be speech


@dataclass(frozen=True)
class Segment:
    """One piece of speech."""

    start: float  # s from the beginning
    end: float
    samples: Waveform  # [T]
    split: bool = False  # cut at its end because it became too long


class Segmenter:
    """Cuts a waveform that comes in blocks.

    Args:
        rate: Hz.
        cutting: settings.

    Example:
        segmenter = Segmenter(16_000)
        segments = [*segmenter.push(block), *segmenter.finish()]
    """

    def __init__(self, rate: int, cutting: Cutting | None = None) -> None:
        self.rate, self.cutting = rate, cutting or Cutting()
        self.passed_over = 0  # sounds too short to be speech
        self.loudest = -np.inf  # dB, of any frame so far
        self._size = max(1, round(self.cutting.frame * rate))
        self._held: Waveform = np.zeros(0, np.float32)  # samples that may still be needed
        self._first = 0  # number of the first of them
        self._frames = 0  # done so far
        self._levels: deque[float] = deque()  # of the frames that are remembered, in order
        self._sorted: list[float] = []  # the same, sorted
        self._speech: list[float] = []  # levels of the frames since speech began; empty: nobody speaks
        self._begin = 0  # frame where speech began
        self._run = 0  # frames of speech in a row
        self._quiet = 0  # frames without speech in a row
        self._taken = 0  # sample up to which segments were given

    def push(self, block: Waveform) -> list[Segment]:
        """The segments that are complete with this block [T]."""
        self._held = np.concatenate([self._held, block])
        done = self._frames * self._size - self._first
        whole = (len(self._held) - done) // self._size
        frames = self._held[done : done + whole * self._size].reshape(whole, self._size).astype(np.float64)
        levels = 10 * np.log10(np.square(frames).mean(axis=1) + 1e-12)
        found = [segment for level in levels.tolist() for segment in self._step(level)]
        self._forget()
        return found

    def finish(self) -> list[Segment]:
        """What is left when the waveform has ended."""
        spoken = len(self._speech) - self._quiet
        found = self._close(self._begin, self._begin + spoken, False) if self._speech else []
        self._speech = []
        return found

    def _frames_of(self, seconds: float) -> int:
        return max(1, round(seconds / self.cutting.frame))

    def _step(self, level: float) -> list[Segment]:
        """One more frame."""
        cutting = self.cutting
        at, self._frames = self._frames, self._frames + 1
        self.loudest = max(self.loudest, level)
        active = level > self._threshold(level)
        self._run = self._run + 1 if active else 0
        if not self._speech:
            if self._run >= self._frames_of(cutting.onset):
                self._begin, self._quiet = at + 1 - self._run, 0
                self._speech = list(self._levels)[-self._run :]
            return []
        self._speech.append(level)
        self._quiet = 0 if active else self._quiet + 1
        if self._quiet >= self._frames_of(cutting.pause):
            begin, end = self._begin, self._begin + len(self._speech) - self._quiet
            self._speech = []
            return self._close(begin, end, False)
        if len(self._speech) >= self._frames_of(cutting.longest):
            return self._split()
        return []

    def _threshold(self, level: float) -> float:
        """What a frame must exceed, once its own level is remembered."""
        self._levels.append(level)
        bisect.insort(self._sorted, level)
        if len(self._levels) > self._frames_of(self.cutting.memory):
            del self._sorted[bisect.bisect_left(self._sorted, self._levels.popleft())]
        noise = self._sorted[len(self._sorted) // 10]
        if len(self._levels) < self._frames_of(self.cutting.least_memory):
            noise = min(noise, self.cutting.faintest)
        return max(noise + self.cutting.above, self.cutting.faintest)

    def _split(self) -> list[Segment]:
        """End a segment that is too long at the quietest frame of its last third; the rest goes on."""
        start = len(self._speech) * 2 // 3
        cut = start + int(np.argmin(self._speech[start:]))
        begin, self._begin = self._begin, self._begin + cut
        self._speech = self._speech[cut:]
        self._quiet = min(self._quiet, len(self._speech))
        return self._close(begin, self._begin, True)

    def _close(self, begin: int, end: int, split: bool) -> list[Segment]:
        """The segment of the frames from `begin` to `end`, with what is kept around it."""
        if (end - begin) * self.cutting.frame < self.cutting.shortest - 1e-9:
            self.passed_over += 1
            return []
        around = round(self.cutting.around * self.rate)
        first = max(self._taken, begin * self._size - around, 0)
        last = end * self._size + (0 if split else around)
        samples = self._held[first - self._first : last - self._first].copy()
        self._taken = first + len(samples)
        return [Segment(first / self.rate, self._taken / self.rate, samples, split)]

    def _forget(self) -> None:
        """Drop the samples that no later segment can hold."""
        begin = self._begin if self._speech else self._frames - self._run
        needed = max(self._taken, begin * self._size - round(self.cutting.around * self.rate))
        needed = min(max(needed, self._first), self._frames * self._size)
        self._held = self._held[needed - self._first :]
        self._first = needed
