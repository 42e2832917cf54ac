"""Real gloo processes with uneven rows against one process: gradients of towers, embeddings and temperature."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
from dense_reference import embeddings, unit

from xmodal.batch import Embeddings
from xmodal.distributed import gather, own_rows, row_counts
from xmodal.objectives import CWCL, InfoNCE, KeyBank, MoCo, NTXent, SigLIP, SupCon
from xmodal.objectives.kernels import ONE_HOT, Affine, Exp, Perplexity, Power, TopK

D, G = 5, 5
SPEECH_IDS = [0, 1, 2, 3, 0, 5, 6, 7, 8]
TEXT_IDS = [0, 1, 1, 3, 4, 5, 6, 7, 2]
LABELS = [0, 1, -1, 0, 2, 1, -1, 2, 2]
N = len(TEXT_IDS)
SPLITS = {2: [6, 3], 3: [4, 0, 5]}
CASES = [
    (InfoNCE, {}),
    (InfoNCE, {"keys": "store"}),
    (CWCL, {"keys": "store", "scope": "store"}),
    (CWCL, {"keys": "store", "anchor": "both"}),
    (NTXent, {"learnable": True}),
    (MoCo, {"learnable": True, "queue": 16}),
    (SupCon, {"learnable": True}),
    (SupCon, {"learnable": True}, "speech"),
    *((SigLIP, {"kernel": kernel}) for kernel in (ONE_HOT, Affine(), Power(power=2), TopK(k=3))),
] + [
    (CWCL, {"kernel": kernel, "anchor": anchor})
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


def data():
    return unit(N, D, 1), unit(N, D, 2), unit(N, G, 3), unit(D, D, 4)


def towers(x, w):
    return torch.nn.functional.normalize(x @ w, dim=1)


def banks():
    """Of 20 items; the batch's own are not among them, which no formula asks for."""
    return {"text": KeyBank(unit(20, D, 5).numpy(), np.arange(20))}


def objective(case):
    arguments = dict(case[1])
    made = case[0](temperature=0.1, **arguments).double()
    for name, parameter in made.named_parameters():
        if name == "log_scale":
            parameter.data.fill_(2.3)
    return made


def sides(case):
    return case[2:] or ("speech", "text")


def gradients_of(made, w_a, w_k, train_both):
    """Of what trains; zeros where the loss does not reach."""
    leaves = [w_a, *made.parameters(), *([w_k] if train_both else [])]
    return [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]


def results_of_process(rank, world, path, out):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=world)
    mine = slice(sum(SPLITS[world][:rank]), sum(SPLITS[world][: rank + 1]))
    results = []
    for train_both in (False, True):
        for case in CASES:
            a_in, k_in, guide, w = data()
            w_a, w_k = w.clone().requires_grad_(), w.T.clone().requires_grad_(train_both)
            a, k = towers(a_in[mine], w_a), towers(k_in[mine], w_k)
            a.retain_grad()
            counts = row_counts(a)
            made = objective(case)
            loss = made(
                Embeddings.of(
                    speech=gather(a, counts),
                    text=(gathered := gather(k, counts)),
                    target={"text": gathered.detach()},
                    banks=banks(),
                    guide={"text": gather(guide[mine], counts)},
                    ids=torch.arange(N),
                    item_ids={"speech": torch.tensor(SPEECH_IDS), "text": torch.tensor(TEXT_IDS)},
                    local=own_rows(counts),
                    labels=torch.tensor(LABELS),
                ),
                *sides(case),
            )
            loss.value.backward()
            gradients = gradients_of(made, w_a, w_k, train_both)
            for g in gradients:  # what DDP does to parameters
                dist.all_reduce(g)
                g /= world
            value = loss.value.detach().clone()
            dist.all_reduce(value)
            results.append([value / world, *gradients, a.grad / world, loss.parts])
    torch.save(results, f"{out}.{rank}")
    dist.destroy_process_group()


def results_of_one_process():
    results = []
    for train_both in (False, True):
        for case in CASES:
            a_in, k_in, guide, w = data()
            w_a, w_k = w.clone().requires_grad_(), w.T.clone().requires_grad_(train_both)
            a, k = towers(a_in, w_a), towers(k_in, w_k)
            a.retain_grad()
            made = objective(case)
            batch = embeddings(a, k, guide, SPEECH_IDS, TEXT_IDS, banks())
            batch.labels = torch.tensor(LABELS)
            loss = made(batch, *sides(case))
            loss.value.backward()
            gradients = gradients_of(made, w_a, w_k, train_both)
            results.append([loss.value.detach(), *gradients, a.grad, loss.parts])
    return results


@pytest.mark.parametrize("world", [2, 3])
def test_processes_equal_one(world, tmp_path):
    torch.multiprocessing.spawn(
        results_of_process, args=(world, str(tmp_path / "init"), str(tmp_path / "out")), nprocs=world
    )
    want = results_of_one_process()
    for rank in range(world):
        rows = slice(sum(SPLITS[world][:rank]), sum(SPLITS[world][: rank + 1]))
        got = torch.load(tmp_path / f"out.{rank}")
        for (*numbers, z_grad, parts), (*expected, expected_z, expected_parts) in zip(got, want, strict=True):
            torch.testing.assert_close(numbers, expected, rtol=1e-10, atol=1e-10)
            torch.testing.assert_close(z_grad, expected_z[rows], rtol=1e-10, atol=1e-10)
            torch.testing.assert_close(parts, expected_parts, rtol=1e-10, atol=1e-10)
