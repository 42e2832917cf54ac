"""Real gloo processes with uneven rows against one process: gradients of towers, predictor and temperature; state.

Every objective of the registry is here, on one side and on two where it takes them, over two steps.
"""

import numpy as np
import pytest
import torch
import torch.distributed as dist
from dense_reference import unit
from torch.nn.functional import normalize

from xmodal.batch import Clock, Embeddings
from xmodal.config.kinds import OBJECTIVES
from xmodal.distributed import gather, own_rows, row_counts
from xmodal.frames import Frames
from xmodal.objectives import (
    BCE,
    CWCL,
    DCL,
    HNNCE,
    VSEPP,
    Distillation,
    InfoNCE,
    KeyBank,
    LocalGlobal,
    Margin,
    MomentumTargets,
    SigLIP,
    Triplet,
)
from xmodal.objectives.kernels import Affine, Exp, Perplexity, Power, TopK

D, G = 5, 5
SPEECH_IDS = [0, 1, 2, 3, 0, 5, 6, 7, 8]
TEXT_IDS = [0, 1, 1, 3, 4, 5, 6, 7, 2]
LABELS = [0, 1, -1, 0, 2, 1, -1, 2, 2]
N = len(TEXT_IDS)
SPLITS = {2: [6, 3], 3: [4, 0, 5]}
BOTH = ("speech", "text")
SMALL = {"queue": 16, "learnable": True, "temperature": 0.1, "hidden": 8}  # where a kind has such a setting
VARIANTS = [
    (InfoNCE, {"keys": "store"}, BOTH),
    (CWCL, {"keys": "store", "scope": "store"}, BOTH),
    (CWCL, {"keys": "store", "anchor": "both"}, BOTH),
    (HNNCE, {"detach_weights": False, "alpha": 0.5}, BOTH),
    (DCL, {"sigma": 0.5}, BOTH[:1]),
    (BCE, {"score": "bilinear"}, BOTH),
    (VSEPP, {"score": "bilinear", "negatives": "all"}, BOTH),
    (Triplet, {"positives": "labels", "negatives": "hardest"}, BOTH[:1]),
    (Margin, {"positives": "labels"}, BOTH[:1]),
    (LocalGlobal, {"bound": "infonce"}, BOTH),
    (Distillation, {"identity_mix": 0.3, "teacher_temperature": 0.2}, BOTH),
    (MomentumTargets, {"alpha": 0.4}, BOTH),
    (CWCL, {"per_item": True, "anchor": "both"}, BOTH),
    *((SigLIP, {"kernel": kernel}, BOTH) for kernel in (Affine(), Power(power=2), TopK(k=3))),
] + [
    (CWCL, {"kernel": kernel, "anchor": anchor}, BOTH)
    for anchor in ("trainable", "frozen", "both")
    for kernel in (
        Affine(),
        Affine(centre=True, identity_mix=0.2),
        Power(power=2),
        Exp(temperature=0.3),
        TopK(k=3),
        Perplexity(perplexity=3),
    )
]


def every_kind():
    """(class, settings, sides) of all that xmodal has, on as many sides as each takes."""
    for kind in OBJECTIVES.own:
        made = OBJECTIVES.find(kind)
        least, most = made.Spec.takes
        for count in range(least, min(most, 2) + 1):
            yield made, {}, BOTH[:count]


CASES = [*every_kind(), *VARIANTS]
RUNS = [(False, case) for case in every_kind()] + [(True, case) for case in CASES]  # does the second side train, too?


def objective(case):
    kind, settings, sides = case
    settings = {name: value for name, value in SMALL.items() if name in kind.Spec.model_fields} | settings
    torch.manual_seed(0)  # of modules that an objective makes
    made = kind(**settings)
    made.prepare_sequences(dict.fromkeys(BOTH, D))
    made.prepare([sides], dict.fromkeys(BOTH, D))
    made.double()
    for name, parameter in made.named_parameters():
        if name == "log_scale":
            parameter.data.fill_(2.3)
    return made


def banks():
    """Of 20 items; the batch's own are not among them, which no formula asks for."""
    return {"text": KeyBank(unit(20, D, 5).numpy(), np.arange(20))}


def batch_of(weights, rows, train_both):
    """What a run gives an objective, of these rows; and the first view's raw embeddings, which hold a gradient.

    As in a run everything is gathered when it is first asked for: processes that ask for different things would wait
    for each other for ever.
    """
    inputs = {side: [unit(N, D, 10 * number + view)[rows] for view in (0, 1)] for number, side in enumerate(BOTH)}
    raw = {side: [x @ weights[side] for x in views] for side, views in inputs.items()}
    seen = raw["speech"][0]
    seen.retain_grad()
    counts = row_counts(seen)

    def own(what, side, view):
        if what == "z":
            return normalize(raw[side][view], dim=1)
        if what == "raw":
            return raw[side][view]
        if what == "features":
            return inputs[side][view]
        if what == "predicted":
            return raw[side][view] @ weights["predictor"]
        if what == "teacher":
            return unit(N, 4, 60 + BOTH.index(side))[rows]
        if what == "guide":
            return unit(N, G, 30)[rows]
        assert what == "target"
        if side == "text" and not train_both:
            return normalize(raw[side][view], dim=1).detach()
        return normalize(inputs[side][view] @ unit(D, D, 50), dim=1)

    def source(what, side, view):
        if what == "codes":  # of own rows
            return torch.stack([raw[side][0], -raw[side][0]], 1).softmax(-1)
        return gather(own(what, side, view), counts)

    found = Embeddings(
        source,
        ids=torch.arange(N),
        item_ids={"speech": torch.tensor(SPEECH_IDS), "text": torch.tensor(TEXT_IDS)},
        local=own_rows(counts),
        labels=torch.tensor(LABELS),
        clock=Clock(1, 4),
        banks=banks(),
        sequences=lambda side, view: steps_of(rows, weights[side]),
    )
    return found, seen


def steps_of(rows, weight):
    """Of these rows alone, as a head over sequences makes them: 3 steps each, of which 1 to 3 count."""
    values = unit(3 * N, D, 60).view(N, 3, D)[rows] @ weight
    return Frames(values, torch.arange(N)[rows] % 3 + 1)


def results_of(rows, world=1):
    """Of each case the losses of two steps, the gradients of all that trains, and the parts of the last step."""
    results = []
    for train_both, case in RUNS:
        weights = {name: unit(D, D, seed) for seed, name in enumerate((*BOTH, "predictor"), 40)}
        for name, weight in weights.items():
            weight.requires_grad_(name != "text" or train_both)
        made, values = objective(case), []
        for _ in range(2):
            batch, seen = batch_of(weights, rows, train_both)
            # what a step of a run trains, and what a bilevel one trains besides
            losses = [each(batch, *case[2]) for each in [made, made.outer][: 1 + bool(made.outer_parameters())]]
            torch.stack([loss.value for loss in losses]).sum().backward()
            made.after_step(batch)
            values += [loss.value.detach().clone() for loss in losses]
        leaves = [leaf for leaf in (*weights.values(), *made.parameters()) if leaf.requires_grad]
        gradients = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
        if world > 1:
            for number in (*values, *gradients):  # what DDP does to parameters
                dist.all_reduce(number)
                number /= world
        own = torch.zeros_like(seen) if seen.grad is None else seen.grad / world
        results.append([values, gradients, own, [loss.parts for loss in losses]])
    return results


def results_of_process(rank, world, path, out):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=world)
    mine = slice(sum(SPLITS[world][:rank]), sum(SPLITS[world][: rank + 1]))
    torch.save(results_of(mine, world), f"{out}.{rank}")
    dist.destroy_process_group()


@pytest.mark.parametrize("world", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_processes_equal_one(world, tmp_path):
    torch.multiprocessing.spawn(
        results_of_process, args=(world, str(tmp_path / "init"), str(tmp_path / "out")), nprocs=world
    )
    want = results_of(slice(None))
    for rank in range(world):
        rows = slice(sum(SPLITS[world][:rank]), sum(SPLITS[world][: rank + 1]))
        got = torch.load(tmp_path / f"out.{rank}")
        for found, expected, case in zip(got, want, RUNS, strict=True):
            values, gradients, own, parts = expected
            torch.testing.assert_close(
                found, [values, gradients, own[rows], parts], rtol=1e-9, atol=1e-9, msg=lambda m, c=case: f"{c}: {m}"
            )
