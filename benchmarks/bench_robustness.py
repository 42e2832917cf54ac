"""A whole robustness report from embeddings: 1,000 classes, 80 templates, 10,000 items, 200 subsets of each size.

    python benchmarks/bench_robustness.py            # k = 1, 5, 10, all; D = 512; 2 threads
    python benchmarks/bench_robustness.py --quick    # 50 classes, 8 templates, 200 items

Claim: under 60 s on 2 cores and under 3 GB for the whole process, with 7 reworded sets, intervals, tables, pictures and
the folder written. Prints the parts and, last, one JSON line; `robustness_bytes` is the peak of the process.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import measure as measuring
import numpy as np
import torch
from torch.nn.functional import normalize

from xmodal.errors import run_script
from xmodal.evaluation.classification.zero_shot import ZeroShot
from xmodal.evaluation.robustness.perturbations import perturbed_sets
from xmodal.evaluation.robustness.robustness import measure
from xmodal.evaluation.robustness.robustness_tables import Question, write_up
from xmodal.evaluation.test_sets.classes import Classes
from xmodal.evaluation.test_sets.labelled import LabelledItems

WIDTH = 512  # D
KS = (1, 5, 10)


def make(classes: int, templates: int, items: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Items [n, D], prompts [T, C, D] and labels [n]: each prompt is its class, its template and noise."""
    torch.manual_seed(0)
    centres = torch.randn(classes, WIDTH)
    prompts = torch.randn(templates, classes, WIDTH)
    prompts.mul_(torch.linspace(1, 3, templates)[:, None, None]).add_(centres).add_(torch.randn(templates, 1, WIDTH))
    labels = torch.arange(items) % classes
    z = centres[labels] + 4 * torch.randn(items, WIDTH)
    return normalize(z, dim=-1), normalize(prompts, dim=-1), labels.numpy()


def main(argv: list[str]) -> None:
    """Measure, print the parts and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small set, for tests")
    options = parser.parse_args(argv)
    classes, templates, items = (50, 8, 200) if options.quick else (1000, 80, 10_000)
    torch.set_num_threads(2)
    z, prompts, labels = make(classes, templates, items)
    names = [f"class {number}" for number in range(classes)]
    ids = np.array([f"item {number}" for number in range(items)], dtype=object)
    true = np.array(names, dtype=object)[labels]
    wording = [f"photo {number} of a {{c}}." for number in range(templates)]
    reworded = {name: prompts.mean(0) + 0.02 * torch.randn(classes, WIDTH) for name in perturbed_sets(wording)}
    test = LabelledItems(Path("random"), "image", ids, list(ids), true, None, ids)
    candidates, spec = Classes(tuple(names), tuple(names), {}), ZeroShot.Spec(test=Path("random"))
    question = Question("random", test, candidates, wording, spec, zero_shot=True)
    seconds = {}
    ks = tuple(k for k in KS if k < templates)

    def timed(part: str, start: float) -> None:
        seconds[part] = time.perf_counter() - start

    start = time.perf_counter()
    found = measure(z, prompts, labels, ks, reworded)
    timed("subsets scored", start)
    start = time.perf_counter()
    report = write_up({"run": found}, question)
    timed("intervals, tables, pictures", start)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        report.write(Path(folder))
    timed("folder written", start)
    subsets = sum(len(found.subsets[k]) for k in found.ks)
    print(f"{items:,} items, {classes:,} classes, {templates} templates, D = {WIDTH}, {subsets} subsets")
    for part, taken in seconds.items():
        print(f"{part:30}{taken:8.2f} s")
    for k in found.ks:
        print(f"k = {k:2}: mean accuracy {found.spread(k).mean:.4f}")
    measuring.finish(
        {
            "benchmark": "robustness",
            "subsets": subsets,
            "robustness_seconds": round(sum(seconds.values()), 2),
            "robustness_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            **measuring.machine(),
        }
    )


if __name__ == "__main__":
    sys.exit(run_script(main))
