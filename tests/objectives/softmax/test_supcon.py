"""SupCon and UniCL against loops from their equations, lightly's NT-Xent, InfoNCE, and their identities."""

import math

import pytest
import torch
from dense_reference import unit
from lightly.loss import NTXentLoss

from xmodal.batch import Embeddings
from xmodal.objectives import InfoNCE, SupCon

N, D = 9, 6
LABELS = torch.tensor([0, 1, -1, 0, 2, 1, -1, 2, 2])


def loop(views: list[torch.Tensor], labels: list[int], tau: float) -> torch.Tensor:
    """2004.11362, equation 2, over anchors with positives; an item without a label is alone in its class."""
    z = torch.cat(views)
    n, total, anchors = len(views[0]), torch.zeros((), dtype=z.dtype), 0
    classes = [label if label >= 0 else f"alone {i}" for i, label in enumerate(labels)] * len(views)
    for i in range(len(z)):
        positives = [p for p in range(len(z)) if p != i and classes[p] == classes[i]]
        if not positives:
            continue
        anchors += 1
        below = torch.stack([z[i] @ z[j] / tau for j in range(len(z)) if j != i]).logsumexp(0)
        total = total - torch.stack([z[i] @ z[p] / tau - below for p in positives]).mean()
    assert n * len(views) == len(z)
    return total / anchors


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("tau", [0.1, 0.7])
def test_one_side_is_the_papers_loop(views: int, tau: float) -> None:
    z = [unit(N, D, seed, True) for seed in range(views)]
    got = SupCon(temperature=tau, views=views).double()(Embeddings.of(text=z, labels=LABELS), "text")
    want = loop(z, LABELS.tolist(), tau)
    torch.testing.assert_close(got.value, want, rtol=1e-6, atol=1e-6)  # log_scale starts as fp32
    torch.testing.assert_close(got.parts["loss"], want.detach(), rtol=1e-6, atol=1e-6)
    assert float(got.parts["anchors"]) == pytest.approx(7 / 9 if views == 1 else 1)
    for one, other in zip(torch.autograd.grad(got.value, z), torch.autograd.grad(want, z), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_two_views_and_no_label_twice_is_nt_xent() -> None:
    views = [unit(N, D, 1), unit(N, D, 2)]
    got = SupCon(views=2).double()(Embeddings.of(image=views, labels=torch.arange(N)), "image")
    torch.testing.assert_close(got.value, NTXentLoss(temperature=0.1)(*views), rtol=1e-6, atol=1e-6)
    none = SupCon(views=2).double()(Embeddings.of(image=views), "image")
    torch.testing.assert_close(none.value, got.value)


def test_two_sides_is_unicl() -> None:
    a, k = unit(N, D, 1, True), unit(N, D, 2, True)
    got = SupCon().double()(Embeddings.of(speech=a, text=k, labels=LABELS), "speech", "text")
    classes = torch.where(LABELS < 0, -1 - torch.arange(N), LABELS)
    T = (classes[:, None] == classes).double()
    T = T / T.sum(1, keepdim=True)
    logits = a @ k.T / 0.1
    want = -((T * logits.log_softmax(1)).sum(1).mean() + (T * logits.T.log_softmax(1)).sum(1).mean()) / 2
    torch.testing.assert_close(got.value, want, rtol=1e-6, atol=1e-6)
    for one, other in zip(torch.autograd.grad(got.value, (a, k)), torch.autograd.grad(want, (a, k)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)
    alone = Embeddings.of(speech=a, text=k)
    infonce = InfoNCE(temperature=0.1, learnable=False).double()(alone, "speech", "text")
    torch.testing.assert_close(SupCon().double()(alone, "speech", "text").value, infonce.value)


def test_identities() -> None:
    same = torch.ones(N, D, dtype=torch.float64) / math.sqrt(D)
    e = Embeddings.of(text=same, speech=same, labels=LABELS)
    assert float(SupCon().double()(e, "text").value) == pytest.approx(math.log(N - 1), abs=1e-6)
    assert float(SupCon().double()(e, "speech", "text").value) == pytest.approx(math.log(N), abs=1e-6)
    z, order = unit(N, D, 3), torch.randperm(N, generator=torch.Generator().manual_seed(0))
    one = SupCon().double()(Embeddings.of(text=z, labels=LABELS), "text").value
    torch.testing.assert_close(SupCon().double()(Embeddings.of(text=z[order], labels=LABELS[order]), "text").value, one)
    turn = torch.linalg.qr(unit(D, D, 4))[0]
    torch.testing.assert_close(SupCon().double()(Embeddings.of(text=z @ turn, labels=LABELS), "text").value, one)


def test_no_anchor_has_a_positive() -> None:
    z = unit(N, D, 1, True)
    loss = SupCon().double()(Embeddings.of(text=z), "text")
    loss.value.backward()
    assert float(loss.value.detach()) == 0
    assert z.grad is not None
    assert not z.grad.any()


def test_gradcheck() -> None:
    def value(z: torch.Tensor) -> torch.Tensor:
        unit_norm = torch.nn.functional.normalize(z, dim=1)
        return SupCon(temperature=0.5).double()(Embeddings.of(text=unit_norm, labels=LABELS), "text").value

    assert torch.autograd.gradcheck(value, unit(N, D, 5, True))
    assert torch.autograd.gradgradcheck(value, unit(N, D, 5, True))


@pytest.mark.parametrize("views", [1, 2])
def test_equal_items_are_never_negatives(views: int) -> None:
    z = [unit(N, D, seed, True) for seed in range(views)]
    items = [0, 1, 2, 3, 4, 5, 2, 4, 0]  # 2 and 6 have no label, 4 and 7 one, 0 and 8 two
    got = SupCon(views=views).double()(
        Embeddings.of(text=z, labels=LABELS, item_ids={"text": torch.tensor(items)}), "text"
    )
    classes = [label if label >= 0 else f"alone {i}" for i, label in enumerate(LABELS.tolist())]
    rows, total, anchors = torch.cat(z), torch.zeros((), dtype=torch.float64), 0
    for i in range(len(rows)):
        others = [j for j in range(len(rows)) if j != i]
        positives = [j for j in others if classes[j % N] == classes[i % N]]
        below = [j for j in others if j in positives or items[j % N] != items[i % N]]
        if positives:
            anchors += 1
            total = total + (rows[i] @ rows[below].T / 0.1).logsumexp(0) - (rows[i] @ rows[positives].T / 0.1).mean()
    torch.testing.assert_close(got.value, total / anchors, rtol=1e-6, atol=1e-6)
