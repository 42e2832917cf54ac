"""Retrieval in both directions, in blocks, against CLIP_benchmark's recall on the same embeddings.

    python benchmarks/bench_retrieval.py            # 25,000 captions x 5,000 images, D = 512: some minutes
    python benchmarks/bench_retrieval.py --quick    # 500 x 100

Claims, on two CPU threads: both directions with recall@1, 5, 10, every query's rank and mAP@10 in under 5 s and under
1 GB over the embeddings, at most a third of the time of CLIP_benchmark 1.6.2's scores and `recall_at_k` (its batches
of 64). In turns, in one process; memory in a fresh process. The recalls are checked to be equal. Prints a table and,
last, one JSON line; `retrieval_over_clip_benchmark` is the median of the ratios.
"""

import argparse
import statistics
import sys

import measure
import numpy as np
import torch
from torch.nn.functional import normalize

from xmodal.errors import run_script
from xmodal.evaluation.statistics.ranking import rank

CAPTIONS, D = 5, 512  # captions of an image, width
KS = (1, 5, 10)
BATCH = 64  # CLIP_benchmark's default
ROUNDS = 3


def inputs(images: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Captions [n, D], images [m, D], unit norm, and the pairs (caption, image)."""
    generator = torch.Generator().manual_seed(0)
    texts, pictures = (normalize(torch.randn(n, D, generator=generator), dim=1) for n in (CAPTIONS * images, images))
    return texts, pictures, np.stack([np.arange(len(texts)), np.arange(len(texts)) // CAPTIONS], axis=1)


def xmodal_recalls(texts: torch.Tensor, pictures: torch.Tensor, pairs: np.ndarray) -> list[float]:
    """Recall at every k, text to image and image to text."""
    found = rank(texts, pictures, pairs), rank(pictures, texts, pairs[:, ::-1])
    return [float(ranks.hits(k).mean()) for ranks in found for k in KS]


def clip_benchmark_recalls(texts: torch.Tensor, pictures: torch.Tensor, pairs: np.ndarray) -> list[float]:
    """The same, as `zeroshot_retrieval.evaluate` computes it once it has the embeddings."""
    from clip_benchmark.metrics.zeroshot_retrieval import batchify, recall_at_k

    scores = texts @ pictures.t()
    positive = torch.zeros_like(scores, dtype=torch.bool)
    positive[torch.from_numpy(pairs[:, 0]), torch.from_numpy(pairs[:, 1])] = True
    return [
        (batchify(recall_at_k, x, y, BATCH, "cpu", k=k) > 0).float().mean().item()
        for x, y in ((scores, positive), (scores.T, positive.T))
        for k in KS
    ]


def main(argv: list[str]) -> None:
    """Measure, print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small, for tests")
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.memory:
        xmodal_recalls(*inputs(20))  # what the first call alone needs
        given = inputs(options.memory)
        print(measure.bytes_over(lambda: xmodal_recalls(*given)))
        return
    images = 100 if options.quick else 5_000
    given = inputs(images)
    found: dict[str, list[float]] = {}
    works = {
        "CLIP_benchmark": lambda: found.update(theirs=clip_benchmark_recalls(*given)),
        "xmodal": lambda: found.update(ours=xmodal_recalls(*given)),
    }
    times = measure.seconds_in_turns(works, ROUNDS)
    assert np.allclose(found["ours"], found["theirs"], rtol=0, atol=1e-6), found
    print(f"{CAPTIONS * images:,} captions x {images:,} images, D = {D}, both directions, recall@{KS}")
    print(measure.table(times, unit=1, label="s"))
    measure.finish(
        {
            "benchmark": "retrieval",
            "captions": CAPTIONS * images,
            "images": images,
            "retrieval_seconds": round(statistics.median(times["xmodal"]), 4),
            "retrieval_over_clip_benchmark": measure.ratio(times, "xmodal", "CLIP_benchmark"),
            "retrieval_bytes": measure.peak_bytes(__file__, "--memory", str(images)),
            **measure.machine(),
        }
    )


if __name__ == "__main__":
    sys.exit(run_script(main))
