"""A batch encoded in chunks: `train.chunk` against the whole batch at once, and against GradCache.

    python benchmarks/bench_chunks.py            # batches of 64 to 2,048: some ten minutes on two CPU threads
    python benchmarks/bench_chunks.py --quick

Three ways to one training step (forward and backward, no optimizer) of speech_encoder against rows of a store, CWCL,
random log-mel of 180 frames, dropout off:

- whole: the Aligner, the batch encoded at once;
- chunk: the Aligner with `chunk`, 64 items at a time under torch's checkpoint, recomputed in the backward pass;
- gradcache (Gao et al. 2021, 2101.06983), written here as the baseline: embeddings without a graph, the loss's gradient
  with respect to them, then each chunk encoded again and its backward pass.

First the gradients of all parameters and the temperature are compared: they differ by at most 1e-5 of each one's norm.
Then time, in turns, medians of the rounds' ratios, and peak memory over the inputs, in a fresh process each. The last
line is one JSON object; `chunk_time_over_whole` and the other ratios are by batch size.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import Any

import measure
import torch
from torch import Tensor

from xmodal.aligner.aligner import Aligner, Term
from xmodal.batch import Embeddings, PairBatch
from xmodal.errors import run_script
from xmodal.objectives import CWCL
from xmodal.towers.heads import Identity, Linear
from xmodal.towers.kinds.store import StoreBackbone
from xmodal.towers.own.speech_encoder import SpeechEncoder
from xmodal.towers.tower import Tower

WAYS = ("whole", "chunk", "gradcache")
WIDTH, FRAMES, MELS = 384, 180, 64  # of the store's rows (all-MiniLM-L6-v2's); of the speech
EQUAL = 1e-5  # of a gradient's norm, fp32


def pairs(size: int) -> PairBatch:
    """`size` random utterances, each with a random row of its own."""
    generator = torch.Generator().manual_seed(0)
    speech = {
        "features": torch.randn(size, FRAMES, MELS, generator=generator),
        "lengths": torch.full((size,), FRAMES),
    }
    inputs = {"speech": speech, "text": {"rows": torch.randn(size, WIDTH, generator=generator)}}
    ids = torch.arange(size)
    return PairBatch(inputs=inputs, ids=ids, item_ids=dict.fromkeys(inputs, ids), names=tuple(map(str, range(size))))


def aligner(chunk: int | None) -> Aligner:
    """speech_encoder against a store, the same weights every time; no dropout, so that all ways do the same."""
    torch.manual_seed(0)
    encoder = SpeechEncoder(dropout=0.0)
    speech = Tower(encoder, Linear(encoder.width, WIDTH))
    text = Tower(StoreBackbone(WIDTH), Identity(WIDTH), locked=True)
    return Aligner({"speech": speech, "text": text}, [Term("objective", CWCL(), (("speech", "text"),))], chunk)


def gradcache(model: Aligner, batch: PairBatch, chunk: int) -> None:
    """Leave in `model` the gradients of the whole batch, by two passes over chunks."""
    speech, text = model.tower("speech"), model.tower("text")(batch.inputs["text"])
    inputs = batch.inputs["speech"]
    parts = [
        dict(zip(inputs, rows, strict=True)) for rows in zip(*(x.split(chunk) for x in inputs.values()), strict=True)
    ]
    with torch.no_grad():
        z = torch.cat([speech(rows).z for rows in parts])
    z.requires_grad_()
    given = {"guide": {"text": text.guide}, "ids": batch.ids, "item_ids": batch.item_ids}
    embeddings = Embeddings.of(speech=z, text=text.z, **given)
    model.term("objective")(embeddings, "speech", "text").value.backward()
    assert z.grad is not None
    for rows, pull in zip(parts, z.grad.split(chunk), strict=True):
        speech(rows).z.backward(pull)


def step_of(way: str, chunk: int, batch: PairBatch) -> tuple[Aligner, Callable[[], Any]]:
    """(the model, its forward and backward pass one of the three ways)."""
    model = aligner(chunk if way == "chunk" else None)

    def step() -> None:
        model.zero_grad()
        if way == "gradcache":
            gradcache(model, batch, chunk)
        else:
            model(batch).value.backward()

    return model, step


def gradients(way: str, chunk: int, batch: PairBatch) -> dict[str, Tensor]:
    """What one step leaves in every trained parameter."""
    model, step = step_of(way, chunk, batch)
    step()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def largest_difference(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """max over parameters of |found - expected| / |expected|."""
    assert found.keys() == expected.keys()
    # a bias of keys shifts a row's attention logits alike: its gradient is zero but for rounding
    smallest = EQUAL * max(float(x.norm()) for x in expected.values())
    return max(float((found[n] - x).norm()) / max(float(x.norm()), smallest) for n, x in expected.items())


def main(argv: list[str]) -> None:
    """Check that the three ways are equal, measure, print the tables and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small batches, one round, for tests")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--memory", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--chunk", type=int, default=64, help="items encoded at a time (default 64)")
    options = parser.parse_args(argv)
    torch.set_num_threads(1 if options.quick else options.threads)  # quick: beside other tests
    if options.memory:
        step_of(options.memory, 1, pairs(2))[1]()  # what the first call alone needs
        _, step = step_of(options.memory, options.chunk, pairs(options.size))
        print(measure.bytes_over(step))
        return

    chunk, sizes, rounds = options.chunk, (64, 256, 1024, 2048), 5
    if options.quick:
        chunk, sizes, rounds = 8, (24,), 1
    result: dict[str, Any] = {"benchmark": "chunks", "chunk": chunk}
    ragged = pairs(3 * chunk + chunk // 4)
    whole = gradients("whole", chunk, ragged)
    differences = {way: largest_difference(gradients(way, chunk, ragged), whole) for way in WAYS[1:]}
    assert max(differences.values()) < EQUAL, differences
    result["gradient_difference"] = max(differences.values())
    compared = (("chunk", "whole"), ("gradcache", "chunk"), ("gradcache", "whole"))
    for size in sizes:
        batch = pairs(size)
        times = measure.seconds_in_turns({way: step_of(way, chunk, batch)[1] for way in WAYS}, rounds)
        peak = {
            way: measure.peak_bytes(__file__, "--memory", way, "--size", str(size), "--chunk", str(chunk))
            for way in WAYS
        }
        print(f"{size:,} pairs, {chunk} at a time, {rounds} rounds, {torch.get_num_threads()} threads")
        print(measure.table(times))
        print(
            "MB over the inputs: " + ", ".join(f"{way} {bytes_ / 1e6:.1f}" for way, bytes_ in peak.items()), flush=True
        )
        for work, baseline in compared:
            pair = f"{work}_{{}}_over_{baseline}"
            result.setdefault(pair.format("time"), {})[str(size)] = measure.ratio(times, work, baseline)
            result.setdefault(pair.format("memory"), {})[str(size)] = round(peak[work] / peak[baseline], 4)
        for way in WAYS:
            result.setdefault(f"{way}_bytes", {})[str(size)] = peak[way]
    measure.finish({**result, **measure.machine()})


if __name__ == "__main__":
    sys.exit(run_script(main))
