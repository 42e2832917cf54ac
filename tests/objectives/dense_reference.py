"""The papers' equations as loops and full N x N matrices in float64: what the streamed code is compared with."""

import math

import torch
from torch import Tensor

from xmodal.batch import Embeddings


def unit(n: int, d: int, seed: int, requires_grad: bool = False) -> Tensor:
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (x / x.norm(dim=1, keepdim=True)).requires_grad_(requires_grad)


def same_matrix(first: list[int], second: list[int]) -> list[list[bool]]:
    n = len(first)
    return [[first[i] == first[j] or second[i] == second[j] for j in range(n)] for i in range(n)]


def one_hot(same: list[list[bool]]) -> Tensor:
    return torch.tensor([[float(x) / sum(row) for x in row] for row in same], dtype=torch.float64)


def perplexity_row(c: list[float], perplexity: float) -> list[float]:
    from scipy.optimize import brentq  # here: the spawned processes need no scipy

    if len(c) <= perplexity:
        return [1.0] * len(c)
    if sum(x == max(c) for x in c) >= perplexity:
        return [float(x == max(c)) for x in c]

    def softmax(b: float) -> list[float]:
        e = [math.exp(b * (x - max(c))) for x in c]
        return [x / sum(e) for x in e]

    def excess(log_b: float) -> float:
        return -sum(p * math.log(p) for p in softmax(math.exp(log_b)) if p > 0) - math.log(perplexity)

    return softmax(math.exp(brentq(excess, -12, 14, xtol=1e-15, rtol=1e-15)))


def weight_row(kind: str, value: float, c: list[float]) -> list[float]:
    if kind == "affine":
        return [(1 + x) / 2 for x in c]
    if kind == "power":
        return [max(x, 0.0) ** value for x in c]
    if kind == "exp":
        return [math.exp((x - 1) / value) for x in c]
    if kind == "softmax":
        total = sum(math.exp(x / value) for x in c)
        return [math.exp(x / value) / total for x in c]
    if kind == "top_k":
        kth = sorted(c, reverse=True)[: int(value)][-1]
        return [float(x >= kth) for x in c]
    if kind == "threshold":
        return [float(x >= value) for x in c]
    if kind == "perplexity":
        return perplexity_row(c, value)
    raise AssertionError(kind)


def target_matrix(
    kind: str, value: float, guide: Tensor, same: list[list[bool]], centre: bool = False, mix: float = 0.0
) -> Tensor:
    if kind == "one_hot":
        return one_hot(same)
    g = guide.detach()
    if centre:
        g = g - g.mean(0)
        g = torch.stack([row / row.norm() if row.norm() > 0 else row for row in g])
    n = len(g)
    T = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        c = [1.0 if same[i][j] else float(g[i] @ g[j]) for j in range(n)]
        w = weight_row(kind, value, c)
        for j in range(n):
            T[i, j] = w[j] / sum(w)
    return (1 - mix) * T + mix * one_hot(same)


def direction_loss(logits: Tensor, T: Tensor) -> Tensor:
    """Mean over anchors (rows) of the cross-entropy between T's row and the row's softmax."""
    return -(T * logits.log_softmax(dim=1)).sum(1).mean()


def dense_loss(a: Tensor, k: Tensor, s: Tensor, T_trainable: Tensor, T_frozen: Tensor, reduction: str) -> Tensor:
    both = direction_loss(s * a @ k.T, T_trainable) + direction_loss(s * k @ a.T, T_frozen)
    return both / 2 if reduction == "mean" else both


def embeddings(
    a: Tensor,
    k: Tensor,
    guide: Tensor,
    first: list[int] | None = None,
    second: list[int] | None = None,
    banks=None,
    labels=None,
) -> Embeddings:
    n = len(a)
    return Embeddings.of(
        speech=a,
        text=k,
        guide={"text": guide},
        target={"text": k.detach()},
        ids=torch.arange(n),
        item_ids={
            "speech": torch.tensor(list(range(n)) if first is None else first, dtype=torch.int64),
            "text": torch.tensor(list(range(n)) if second is None else second, dtype=torch.int64),
        },
        banks=banks,
        labels=labels,
    )


def assert_same(found: Tensor, want: Tensor, *leaves: Tensor, within: float = 1e-9) -> None:
    """Two losses are equal, and so are their gradients."""
    torch.testing.assert_close(found, want, rtol=within, atol=within)
    gradients = (torch.autograd.grad(loss, leaves, retain_graph=True) for loss in (found, want))
    torch.testing.assert_close(*gradients, rtol=10 * within, atol=10 * within)
