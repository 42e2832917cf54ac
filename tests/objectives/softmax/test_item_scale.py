"""A temperature for each pair: against loops, and against one temperature for all."""

import numpy as np
import pytest
import torch
from dense_reference import embeddings, one_hot, same_matrix, target_matrix, unit

from xmodal.errors import UserError
from xmodal.objectives import CWCL, InfoNCE, KeyBank

N, D, G = 7, 5, 4
FIRST, SECOND = [0, 1, 2, 0, 4, 5, 6], [0, 1, 1, 3, 4, 5, 2]
SAME = same_matrix(FIRST, SECOND)
PAIR = [("speech", "text")]


def made(kind, **settings):
    objective = kind(per_item=True, **settings)
    objective.prepare(PAIR, {"speech": D, "text": D})
    objective.double()
    objective.log_scale.data.fill_(1.2)
    objective.slopes["text"].data.copy_(unit(1, D, 8)[0])
    return objective


def loops(a, k, objective, T, weighted):
    """Cross-entropies whose rows have their own scale; the scales do not move k."""
    scales = [(objective.log_scale[0] + k[i].detach() @ objective.slopes["text"]).exp() for i in range(N)]
    total = 0.0
    for name, x, y in (("trainable", a, k), ("frozen", k, a)):
        target = T if name in weighted else one_hot(SAME)
        for i in range(N):
            logits = torch.stack([scales[i] * (x[i] @ y[j]) for j in range(N)])
            total = total - (target[i] * logits.log_softmax(0)).sum() / N
    return total / 2, scales


@pytest.mark.parametrize(
    ("kind", "settings", "weighted"),
    [(InfoNCE, {}, ())] + [(CWCL, {"anchor": anchor}, (anchor,)) for anchor in ("trainable", "frozen")]
    + [(CWCL, {"anchor": "both"}, ("trainable", "frozen"))],
)  # fmt: skip
@pytest.mark.parametrize("both_train", [False, True])
def test_equals_its_loops_in_value_and_gradient(kind, settings, weighted, both_train):
    a, k, guide = unit(N, D, 1, True), unit(N, D, 2, both_train), unit(N, G, 3)
    objective = made(kind, **settings)
    got = objective(embeddings(a, k, guide, FIRST, SECOND), "speech", "text")
    want, scales = loops(a, k, objective, target_matrix("affine", 0, guide, SAME), weighted)
    torch.testing.assert_close(got.value, want, rtol=1e-9, atol=1e-10)
    leaves = [a, *([k] if both_train else []), objective.log_scale, objective.slopes["text"]]
    mine, theirs = (torch.autograd.grad(value, leaves, retain_graph=True) for value in (got.value, want))
    torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(got.parts["temperature"], torch.stack([1 / s for s in scales]).mean().detach())


def test_without_slopes_it_is_the_one_temperature_and_the_limit_holds():
    e = embeddings(unit(N, D, 1), unit(N, D, 2), unit(N, G, 3), FIRST, SECOND)
    one, many = CWCL(temperature=0.3).double(), made(CWCL)
    one.log_scale.data.fill_(1.2)
    many.slopes["text"].data.zero_()
    torch.testing.assert_close(many(e, "speech", "text").value, one(e, "speech", "text").value)
    many.slopes["text"].data.copy_(100 * e.z("text")[0])
    assert float(many.scales(e, "text").detach().max()) == pytest.approx(100)


def test_keys_over_a_store_have_the_anchors_scale():
    a, k, held = unit(N, D, 1, True), unit(N, D, 2), unit(9, D, 5)
    objective = made(InfoNCE, keys="store")
    e = embeddings(a, k, k, banks={"text": KeyBank(held.numpy(), np.arange(9))})
    s, one = objective.scales(e, "text"), torch.arange(N)
    rows = (s[:, None] * a @ held.T).logsumexp(1) - s * (a * k).sum(1)
    columns = torch.nn.functional.cross_entropy(s[:, None] * k @ a.T, one)
    torch.testing.assert_close(objective(e, "speech", "text").value, (rows.mean() + columns) / 2)


def test_it_must_be_prepared():
    e = embeddings(unit(N, D, 1), unit(N, D, 2), unit(N, G, 3))
    with pytest.raises(UserError, match=r"InfoNCE: per_item has a parameter for each side; call prepare"):
        InfoNCE(per_item=True)(e, "speech", "text")
