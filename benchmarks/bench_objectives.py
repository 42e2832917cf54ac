"""CWCL without N x N matrices, against the dense losses people use.

    python benchmarks/bench_objectives.py                  # N = 8,192, D = 384: a minute or two on two CPU threads
    python benchmarks/bench_objectives.py --plot docs      # also over N, and the pictures of docs/performance.md
    python benchmarks/bench_objectives.py --device cuda    # N = 32,768, D = 512, and once 1,048,576: see gpu.sh
    python benchmarks/bench_objectives.py --quick

Claims, forward and backward, keys frozen, the scale learned, fp32 (on a GPU bf16 inputs): streamed CWCL (affine, both
directions) against open_clip's `ClipLoss`, against CWCL with N x N logits and weights, and against its arithmetic
floor, 3 products of 2 N^2 D at the matrix rate of one tile measured in the same rounds. Times are taken in turns,
medians of the rounds' ratios; memory is the peak over the inputs, in a fresh process each. On a GPU also against the
peers that are installed (`peer_losses.py`), the fused kernels against the tile loop, and one step at the large N for
each loss that stores no N x N matrix, as far as `--seconds` go. The last line is one JSON object.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measure
import peer_losses
import torch
import torch.nn.functional as F

from xmodal.batch import Embeddings
from xmodal.errors import UserError, run_script
from xmodal.objectives import CWCL, InfoNCE, SigLIP
from xmodal.objectives.engine import streaming
from xmodal.objectives.engine.tiles import tile_for
from xmodal.objectives.kernels import Affine
from xmodal.same_items import SameItems

LOSSES = ("xmodal CWCL", "open_clip ClipLoss", "dense CWCL")
OWN = {"xmodal CWCL": CWCL, "xmodal SigLIP": SigLIP, "xmodal InfoNCE": InfoNCE}
WARM = 8192  # pairs of the step before the one that is timed: large enough that kernels are compiled and chosen


def inputs(n: int, d: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Trainable embeddings and frozen keys [n, d], unit norm."""
    generator = torch.Generator(device).manual_seed(0)
    a, k = (F.normalize(torch.randn(n, d, generator=generator, device=device), dim=1) for _ in range(2))
    if device == "cuda":
        a, k = a.bfloat16(), k.bfloat16()
    return a.requires_grad_(), k


def embeddings(a: torch.Tensor, k: torch.Tensor) -> Embeddings:
    """The batch as objectives see it; the keys are their own guide."""
    return Embeddings.of(a=a, k=k)


def step_of(loss: str, a: torch.Tensor, k: torch.Tensor) -> Callable[[], Any]:
    """Forward and backward of one of the losses; gives the value."""
    objective = OWN.get(loss, CWCL)().to(a.device)
    batch = embeddings(a, k)
    other = None if loss in OWN else peer_losses.peer_loss(loss)

    def step() -> torch.Tensor:
        a.grad = None
        if other is None:
            value = objective(batch, "a", "k").value
        else:
            value = other(a, k, objective.log_scale.exp().to(a.dtype))
        value.backward()
        return value.detach()

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


def affine_share(n: int, d: int, rounds: int, device: str) -> float:
    """The affine targets' part of a whole step."""
    a, k = inputs(n, d, device)
    same = SameItems(torch.arange(n, device=a.device), torch.arange(n, device=a.device))
    guide = k.float()
    works = {
        "targets": lambda: Affine().products(guide, same, slice(0, n), (guide,)),
        "step": step_of("xmodal CWCL", a, k),
    }
    return measure.ratio(measure.seconds_in_turns(works, rounds), "targets", "step")


def fused_over_tiles(a: torch.Tensor, k: torch.Tensor, rounds: int) -> float | str:
    """InfoNCE's step with the fused kernels over the same with the tile loop; or why the kernels do not run here."""
    from xmodal.objectives.engine import triton_logsumexp

    step, chosen = step_of("xmodal InfoNCE", a, k), streaming.fused_kernels

    def with_kernels(kernels: Any) -> None:
        streaming.fused_kernels = lambda *_: kernels
        step()

    try:
        works = {"fused": lambda: with_kernels(triton_logsumexp), "tiles": lambda: with_kernels(None)}
        return measure.ratio(measure.seconds_in_turns(works, rounds), "fused", "tiles")
    except triton_logsumexp.FAILURES as error:
        return str(error)[-300:]
    finally:
        streaming.fused_kernels = chosen


def once(loss: str, n: int, d: int, device: str) -> dict[str, float]:
    """Seconds, bytes over the inputs and value of one step at n pairs, after one of WARM pairs."""
    step_of(loss, *inputs(min(n, WARM), d, device))()
    step = step_of(loss, *inputs(n, d, device))
    found: dict[str, float] = {}

    def timed() -> None:
        start = time.perf_counter()
        found["value"] = float(step())  # waits for the card
        found["seconds"] = round(time.perf_counter() - start, 3)

    found["bytes"] = measure.bytes_over(timed, device)
    return found


def large_batch(n: int, device: str, seconds: float) -> dict[str, Any]:
    """`once` of every loss that stores no N x N matrix, in processes of their own; a reason where one has no result."""
    end, found = time.monotonic() + seconds, {}
    for loss in ("xmodal CWCL", *(x for x in peer_losses.peers(device) if x not in peer_losses.DENSE)):
        arguments = ("--once", loss, "--size", str(n), "--device", device)
        try:
            line = measure.last_line(__file__, *arguments, seconds=max(0.1, end - time.monotonic()))
            found[loss] = json.loads(line)
        except RuntimeError as error:
            found[loss] = {"failed": str(error)[-500:]}
        print(f"N = {n:,}: {loss}: {found[loss]}", flush=True)
    return found


def over_n(sizes: list[int], d: int, folder: Path, device: str) -> dict[str, dict[int, float]]:
    """Time and memory of every loss over N, drawn into FOLDER/images; dense ones up to 16,384."""
    from matplotlib.figure import Figure

    seconds: dict[str, dict[int, float]] = {name: {} for name in LOSSES}
    megabytes: dict[str, dict[int, float]] = {name: {} for name in LOSSES}
    for n in sizes:
        names = [name for name in LOSSES if n <= 16384 or name.startswith("xmodal")]
        a, k = inputs(n, d, device)
        times = measure.seconds_in_turns({name: step_of(name, a, k) for name in names}, 3 if n <= 8192 else 1)
        for name in names:
            seconds[name][n] = sorted(times[name])[len(times[name]) // 2]
            megabytes[name][n] = peak(name, n, device) / 1e6
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
    figure.savefig(folder / "images" / f"objectives_{device}.png", dpi=110)
    return seconds


def peak(loss: str, n: int, device: str) -> int:
    """Peak bytes over the inputs, from a process of its own."""
    return measure.peak_bytes(__file__, "--memory", loss, "--size", str(n), "--device", device)


def main(argv: list[str]) -> None:
    """Measure, print the tables and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, one round, for tests")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="measure over N too, pictures into FOLDER/images")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default=measure.DEVICE, help="default: cuda where it is")
    parser.add_argument("--large", type=int, help="pairs of the one large step (default: 1,048,576 on cuda, else none)")
    parser.add_argument("--seconds", type=float, default=200, help="for all large steps together (default 200)")
    names = [*LOSSES, *OWN, *peer_losses.MODULES]
    parser.add_argument("--memory", choices=names, help=argparse.SUPPRESS)
    parser.add_argument("--once", choices=names, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    device, on_card = options.device, options.device == "cuda"
    if on_card and not torch.cuda.is_available():
        raise UserError("--device cuda: torch finds no GPU here; leave it out to measure on the CPU")
    torch.set_num_threads(1 if options.quick else options.threads)  # quick: beside other tests
    d = 512 if on_card else 384
    if options.memory:
        step_of(options.memory, *inputs(64, d, device))()  # what the first call alone needs
        a, k = inputs(options.size, d, device)
        print(measure.bytes_over(step_of(options.memory, a, k), device))
        return
    if options.once:
        print(json.dumps(once(options.once, options.size, d, device)))
        return

    n, rounds = (256, 1) if options.quick else (32768, 7) if on_card else (8192, 7)
    a, k = inputs(n, d, device)
    products, factor = floor_of(n, a, k)
    rivals = [name for name in peer_losses.peers(device) if name not in LOSSES]
    works = {name: step_of(name, a, k) for name in (*LOSSES, "xmodal SigLIP", *rivals)}
    times = measure.seconds_in_turns({**works, "floor": products}, rounds)
    times["floor"] = [factor * x for x in times["floor"]]
    print(f"N = {n:,}, D = {d}, {rounds} rounds, {device}, {torch.get_num_threads()} threads")
    print(measure.table(times))
    peaks = {name: peak(name, n, device) for name in (*LOSSES, *rivals)}
    print("MB over the inputs: " + ", ".join(f"{name} {size / 1e6:.1f}" for name, size in peaks.items()))
    shares = {m: affine_share(m, d, rounds, device) for m in ([n // 2, n] if options.quick else [n // 4, n // 2, n])}
    result: dict[str, Any] = {
        "benchmark": "objectives",
        "n": n,
        "d": d,
        "cwcl_time_over_openclip": measure.ratio(times, "xmodal CWCL", "open_clip ClipLoss"),
        "cwcl_time_over_dense": measure.ratio(times, "xmodal CWCL", "dense CWCL"),
        "cwcl_time_over_floor": measure.ratio(times, "xmodal CWCL", "floor"),
        "siglip_time_over_cwcl": measure.ratio(times, "xmodal SigLIP", "xmodal CWCL"),
        "cwcl_memory_over_dense": round(peaks["xmodal CWCL"] / peaks["dense CWCL"], 4),
        "cwcl_memory_over_openclip": round(peaks["xmodal CWCL"] / peaks["open_clip ClipLoss"], 4),
        "clip_values": {x: float(step_of(x, a, k)()) for x in ("xmodal InfoNCE", *peer_losses.peers(device))},  # equal
        "affine_share": shares[n],
        "affine_share_over_n": {str(m): share for m, share in shares.items()},
        **measure.machine(device),
    }
    for name in rivals:
        result[f"cwcl_time_over_{name}"] = measure.ratio(times, "xmodal CWCL", name)
        result[f"cwcl_memory_over_{name}"] = round(peaks["xmodal CWCL"] / peaks[name], 4)
    if on_card:
        result["fused_time_over_tiles"] = fused_over_tiles(a, k, rounds)
    else:
        result["cwcl_65k_bytes"] = peak("xmodal CWCL", 512 if options.quick else 65536, device)
    large = options.large or (1048576 if on_card else None)
    if large:
        result["large"] = {"n": large, **large_batch(large, device, options.seconds)}
    assert math.isfinite(result["cwcl_time_over_floor"])
    if options.plot:
        over_n([1024, 2048, 4096, 8192, 16384, 32768], d, options.plot, device)
    measure.finish(result)


if __name__ == "__main__":
    sys.exit(run_script(main))
