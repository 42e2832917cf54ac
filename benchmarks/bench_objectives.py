"""CWCL without N x N matrices, against the dense losses people use.

    python benchmarks/bench_objectives.py                  # N = 8,192, D = 384: a minute or two on two CPU threads
    python benchmarks/bench_objectives.py --plot docs      # also over N, and the pictures of docs/performance.md
    python benchmarks/bench_objectives.py --quick

Claims, forward and backward, keys frozen, the scale learned, fp32 (on a GPU bf16 inputs): streamed CWCL (affine, both
directions) against open_clip's `ClipLoss`, against CWCL with N x N logits and weights, and against its arithmetic
floor, 3 products of 2 N^2 D at the matrix rate of one tile measured in the same rounds. Times are taken in turns,
medians of the rounds' ratios; memory is the peak over the inputs, in a fresh process each. The last line is one JSON
object.
"""

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measure
import torch
import torch.nn.functional as F

from xmodal.batch import Embeddings
from xmodal.errors import run_script
from xmodal.objectives import CWCL, SigLIP
from xmodal.objectives.engine.tiles import tile_for
from xmodal.objectives.kernels import Affine
from xmodal.same_items import SameItems

LOSSES = ("xmodal CWCL", "open_clip ClipLoss", "dense CWCL")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def inputs(n: int, d: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Trainable embeddings and frozen keys [n, d], unit norm."""
    generator = torch.Generator().manual_seed(0)
    a, k = (F.normalize(torch.randn(n, d, generator=generator), dim=1).to(DEVICE) for _ in range(2))
    if DEVICE == "cuda":
        a, k = a.bfloat16(), k.bfloat16()
    return a.requires_grad_(), k


def embeddings(a: torch.Tensor, k: torch.Tensor) -> Embeddings:
    """The batch as objectives see it; the keys are their own guide."""
    return Embeddings.of(a=a, k=k)


def dense_cwcl(a: torch.Tensor, k: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """CWCL as written in its paper: N x N logits, N x N weights."""
    logits = scale * a @ k.T
    with torch.no_grad():
        weights = (1 + k @ k.T) / 2
        weights /= weights.sum(1, keepdim=True)
    forward = -(weights * logits.log_softmax(1)).sum(1).mean()
    backward = F.cross_entropy(logits.T, torch.arange(len(a), device=a.device))
    return (forward + backward) / 2


def step_of(loss: str, a: torch.Tensor, k: torch.Tensor) -> Callable[[], Any]:
    """Forward and backward of one of the losses."""
    objective = (SigLIP() if loss == "xmodal SigLIP" else CWCL()).to(a.device)
    batch = embeddings(a, k)
    if loss == "open_clip ClipLoss":
        from open_clip.loss import ClipLoss  # late: the other losses' processes need not wait for it

        clip = ClipLoss()

    def step() -> None:
        a.grad = None
        if loss.startswith("xmodal"):
            value = objective(batch, "a", "k").value
        else:
            scale = objective.log_scale.exp().to(a.dtype)
            value = clip(a, k, scale) if loss == "open_clip ClipLoss" else dense_cwcl(a, k, scale)
        value.backward()

    return step


def floor_of(n: int, a: torch.Tensor, k: torch.Tensor) -> tuple[Callable[[], Any], float]:
    """(a product of one tile's shape done often, how many times longer 3 products of 2 n^2 D take)."""
    rows, columns = (min(x, n) for x in tile_for(a))
    left, right = a.detach()[:rows], k[:columns]
    out = left.new_empty(rows, columns)
    repeats = max(1, n * n // (4 * rows * columns))

    def products() -> None:
        for _ in range(repeats):
            torch.mm(left, right.T, out=out)

    return products, 3 * n * n / (repeats * rows * columns)


def affine_share(n: int, d: int, rounds: int) -> float:
    """The affine targets' part of a whole step."""
    a, k = inputs(n, d)
    same = SameItems(torch.arange(n, device=a.device), torch.arange(n, device=a.device))
    guide = k.float()
    works = {
        "targets": lambda: Affine().products(guide, same, slice(0, n), (guide,)),
        "step": step_of("xmodal CWCL", a, k),
    }
    return measure.ratio(measure.seconds_in_turns(works, rounds), "targets", "step")


def over_n(sizes: list[int], d: int, folder: Path) -> dict[str, dict[int, float]]:
    """Time and memory of every loss over N, drawn into FOLDER/images; dense ones up to 16,384."""
    from matplotlib.figure import Figure

    seconds: dict[str, dict[int, float]] = {name: {} for name in LOSSES}
    megabytes: dict[str, dict[int, float]] = {name: {} for name in LOSSES}
    for n in sizes:
        names = [name for name in LOSSES if n <= 16384 or name.startswith("xmodal")]
        a, k = inputs(n, d)
        times = measure.seconds_in_turns({name: step_of(name, a, k) for name in names}, 3 if n <= 8192 else 1)
        for name in names:
            seconds[name][n] = sorted(times[name])[len(times[name]) // 2]
            megabytes[name][n] = measure.peak_bytes(__file__, "--memory", name, "--size", str(n)) / 1e6
        print(n, {name: (round(seconds[name][n], 3), round(megabytes[name][n])) for name in names}, flush=True)
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, values, label in zip(
        figure.subplots(1, 2), (seconds, megabytes), ("seconds", "MB over the inputs"), strict=True
    ):
        for name in LOSSES:
            axes.loglog(list(values[name]), list(values[name].values()), marker="o", label=name)
        axes.set_xscale("log", base=2)
        axes.set_xlabel("N (pairs in the batch)")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "images" / f"objectives_{DEVICE}.png", dpi=110)
    return seconds


def main(argv: list[str]) -> None:
    """Measure, print the tables and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, one round, for tests")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="measure over N too, pictures into FOLDER/images")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--memory", choices=[*LOSSES, "xmodal SigLIP"], help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    torch.set_num_threads(1 if options.quick else options.threads)  # quick: beside other tests
    d = 512 if DEVICE == "cuda" else 384
    if options.memory:
        step_of(options.memory, *inputs(64, d))()  # what the first call alone needs
        a, k = inputs(options.size, d)
        print(measure.bytes_over(step_of(options.memory, a, k)))
        return

    n, rounds, large = (32768, 7, 1048576) if DEVICE == "cuda" else (8192, 7, 65536)
    if options.quick:
        n, rounds, large = 256, 1, 512
    a, k = inputs(n, d)
    products, factor = floor_of(n, a, k)
    works = {name: step_of(name, a, k) for name in (*LOSSES, "xmodal SigLIP")}
    times = measure.seconds_in_turns({**works, "floor": products}, rounds)
    times["floor"] = [factor * x for x in times["floor"]]
    print(f"N = {n:,}, D = {d}, {rounds} rounds, {torch.get_num_threads()} threads")
    print(measure.table(times))
    peak = {name: measure.peak_bytes(__file__, "--memory", name, "--size", str(n)) for name in LOSSES}
    print("MB over the inputs: " + ", ".join(f"{name} {size / 1e6:.1f}" for name, size in peak.items()))
    shares = {m: affine_share(m, d, rounds) for m in ([n // 2, n] if options.quick else [n // 4, n // 2, n])}
    result = {
        "benchmark": "objectives",
        "n": n,
        "d": d,
        "cwcl_time_over_openclip": measure.ratio(times, "xmodal CWCL", "open_clip ClipLoss"),
        "cwcl_time_over_dense": measure.ratio(times, "xmodal CWCL", "dense CWCL"),
        "cwcl_time_over_floor": measure.ratio(times, "xmodal CWCL", "floor"),
        "siglip_time_over_cwcl": measure.ratio(times, "xmodal SigLIP", "xmodal CWCL"),
        "cwcl_memory_over_dense": round(peak["xmodal CWCL"] / peak["dense CWCL"], 4),
        "cwcl_memory_over_openclip": round(peak["xmodal CWCL"] / peak["open_clip ClipLoss"], 4),
        "cwcl_65k_bytes" if large == 65536 else f"cwcl_{large}_bytes": measure.peak_bytes(
            __file__, "--memory", "xmodal CWCL", "--size", str(large)
        ),
        "affine_share": shares[n],
        "affine_share_over_n": {str(m): share for m, share in shares.items()},
        **measure.machine(),
    }
    assert math.isfinite(result["cwcl_time_over_floor"])
    if options.plot:
        over_n([1024, 2048, 4096, 8192, 16384, 32768], d, options.plot)
    measure.finish(result)


if __name__ == "__main__":
    sys.exit(run_script(main))
