"""MetAug: its contrasts and margins against loops from the equations, and its generator."""

import pytest
import torch
from dense_reference import unit
from torch.nn.functional import normalize

from xmodal.batch import Embeddings
from xmodal.errors import UserError
from xmodal.objectives import OUCL, InfoNCE, MetAug
from xmodal.objectives.metaug.generator import Generator
from xmodal.objectives.metaug.margins import margin_rows

N, D = 6, 5
FIRST, SECOND = [0, 1, 2, 0, 4, 5], [0, 1, 1, 3, 4, 5]
BOTH = ("speech", "text")
ITEMS = {"speech": torch.tensor(FIRST), "text": torch.tensor(SECOND)}


def made(**settings):
    torch.manual_seed(0)
    objective = MetAug(hidden=7, **settings)
    objective.prepare([BOTH], dict.fromkeys(BOTH, D))
    return objective.double()


def of(a, k):
    return Embeddings.of(speech=a, text=k, item_ids=ITEMS)


def generated(generator, z):
    """Linear, batch norm, ReLU, twice; linear, unit norm."""
    weights = [p.detach() for p in generator.parameters()]
    for at in (0, 4):
        W, b, gain, shift = weights[at : at + 4]
        x = z @ W.T + b
        x = torch.nn.functional.batch_norm(x, None, None, gain, shift, training=True)
        z = x.clamp(min=0)
    return normalize(z @ weights[8].T + weights[9], dim=1)


def pairs_of(objective, a, k):
    a2, k2 = generated(objective.generators["speech"], a), generated(objective.generators["text"], k)
    return [(a, k), (a2, k), (a, k2), (a2, k2)]


def margins_loop(margins, pairs):
    """R as loops, and the shares of pairs that are active."""
    above, below = [], []
    for order in (1, -1):
        (a, k), *augmented = [pair[::order] for pair in pairs]
        for i in range(N):
            same = [FIRST[i] == FIRST[j] or SECOND[i] == SECOND[j] for j in range(N)]
            d = [(1 + a[i] @ k[j]) / 2 for j in range(N)]
            least = min(x for x, positive in zip(d, same, strict=True) if positive)
            most = max(x for x, positive in zip(d, same, strict=True) if not positive)
            upper, lower = min(least, most), max(least, most)
            upper, lower = {
                "large": (upper, lower),
                "medium": ((least + most) / 2,) * 2,
                "small": (lower, upper),
            }[margins]
            for x, y in augmented:
                for j in range(N):
                    found = (1 + x[i] @ y[j]) / 2
                    (above if same[j] else below).append((found - upper if same[j] else lower - found).clamp(min=0))
    value = torch.stack(above).mean() + torch.stack(below).mean()
    return value, [torch.stack(x).gt(0).double().mean() for x in (above, below)]


@pytest.mark.parametrize("margins", ["large", "medium", "small"])
def test_both_losses_equal_loops(margins):
    a, k = unit(N, D, 1, True), unit(N, D, 2, True)
    objective = made(margins=margins, delta=0.3, alpha=2.0)
    pairs = pairs_of(objective, a, k)
    contrasts = [OUCL()(of(*pair), *BOTH).value for pair in pairs]
    R, active = margins_loop(margins, pairs)
    inner, outer = objective(of(a, k), *BOTH), objective.outer(of(a, k), *BOTH)
    want = contrasts[0] + 0.3 * sum(contrasts[1:]) / 3
    torch.testing.assert_close([inner.value, outer.value], [want, want + 2 * R], rtol=0, atol=1e-9)
    for got, expected in ((inner, want), (outer, want + 2 * R)):
        found, wanted = (torch.autograd.grad(x, (a, k), retain_graph=True) for x in (got.value, expected))
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)
    parts = outer.parts
    told = [parts["margin"], parts["active_positives"], parts["active_negatives"], inner.parts["original"]]
    torch.testing.assert_close(told, [R, *active, contrasts[0]], rtol=0, atol=1e-9)


def test_without_augmented_features_it_is_its_contrast():
    a, k = unit(N, D, 1), unit(N, D, 2)
    torch.testing.assert_close(made(delta=0)(of(a, k), *BOTH).value, OUCL()(of(a, k), *BOTH).value)
    infonce = InfoNCE(temperature=0.2, learnable=False).double()(of(a, k), *BOTH).value
    torch.testing.assert_close(made(delta=0, contrast="infonce", temperature=0.2)(of(a, k), *BOTH).value, infonce)


def test_margins_that_all_pairs_keep_have_a_value_and_gradients_of_zero():
    positive = torch.eye(4, dtype=torch.bool)
    original = torch.where(positive, 0.4, 0.6).double()
    augmented = torch.where(positive, 0.3, 0.7).double().requires_grad_()  # harder than large margins ask for
    found = margin_rows(positive, original, augmented, margins="large")
    assert not bool(found.any())
    assert not bool(torch.autograd.grad(found.sum(), augmented)[0].any())
    everyone = margin_rows(torch.ones(4, 4, dtype=torch.bool), original, augmented, margins="small")
    assert not bool(everyone.any())  # no negatives, no margins


def test_the_generators_train_by_both_losses_and_gradients_are_right():
    objective = made(beta=2.0)
    first, second = unit(N, D, 1), unit(N, D, 2, True)
    weight = objective.generators["speech"][0].weight

    def inner(k, W):
        return torch.func.functional_call(objective, {"generators.speech.0.weight": W}, (of(first, k), *BOTH)).value

    assert torch.autograd.gradcheck(inner, (second, weight.detach().clone().requires_grad_()))
    for loss in (objective, objective.outer):
        gradients = torch.autograd.grad(loss(of(first, second), *BOTH).value, objective.outer_parameters())
        found = [float(g.abs().max()) > 1e-12 for g in gradients]
        assert found == 2 * [True, False, True, True, True, False, True, True, True, True]  # no bias before batch norm


def test_one_side_shares_a_generator_among_its_views_and_order_means_nothing():
    a, k = unit(N, D, 1), unit(N, D, 2)
    torch.manual_seed(0)
    objective = MetAug(hidden=7)
    order = torch.tensor([3, 0, 4, 1, 2, 5])
    one = objective.outer(Embeddings.of(x=[a, k]), "x").value  # used as a plain library: the generator is made here
    torch.testing.assert_close(objective.outer(Embeddings.of(x=[a[order], k[order]]), "x").value, one)
    assert list(objective.generators) == ["x"]
    assert objective.generators["x"][0].weight.dtype == torch.float64


def test_a_generator_has_the_statistics_of_the_batch_in_evaluation_too():
    torch.manual_seed(0)
    generator, z = Generator(D, 7).double(), unit(N, D, 1)
    torch.testing.assert_close(generator(z), generated(generator, z))
    torch.testing.assert_close(generator.eval()(z), generated(generator, z))
    assert not dict(generator.named_buffers())
    assert bool(torch.isfinite(generator(z[:1])).all())  # one row: no error


def test_stays_finite_in_bf16_and_says_what_is_wrong():
    a = unit(N, D, 1).bfloat16().requires_grad_()
    for contrast in ("oucl", "infonce"):
        value = MetAug(hidden=7, contrast=contrast, temperature=0.01).outer(Embeddings.of(x=[a, -a]), "x").value
        assert bool(torch.isfinite(value))
        assert bool(torch.isfinite(torch.autograd.grad(value, a)[0]).all())
    with pytest.raises(UserError, match="margins"):
        MetAug(margins="huge")
