"""Local-global Deep InfoMax against loops over positions, JSD and InfoNCE on sequences of one step, padding."""

import pytest
import torch
from dense_reference import assert_same, unit
from torch.nn.functional import normalize

from xmodal.batch import Embeddings
from xmodal.frames import Frames
from xmodal.objectives import JSD, InfoNCE, LocalGlobal

N, D, W = 6, 5, 7
LENGTHS = torch.tensor([3, 1, 4, 2, 4, 1])
IDS = torch.tensor([0, 1, 2, 1, 4, 5])
SIDES = [("speech",), ("speech", "text")]


def steps_of(values, lengths=LENGTHS):
    return Frames(values, lengths)


def made(bound="jsd"):
    torch.manual_seed(0)
    objective = LocalGlobal(bound=bound)
    objective.prepare_sequences({"speech": W})
    objective.prepare(SIDES, {"speech": D, "text": D})
    objective.double().log_scale.data.fill_(1.1)
    return objective


def seen(h, z, k, ids=IDS):
    return Embeddings.of(speech=z, text=k, sequence={"speech": steps_of(h)}, item_ids={"speech": ids})


def loop(objective, h, g, ids):
    """1808.06670, over every position; negatives are the items that are not equal."""
    linear, scale = objective.maps["speech"], objective.log_scale.exp()
    softplus, total = (lambda x: (1 + x.exp()).log()), 0
    negatives = [(i, j) for i in range(N) for j in range(N) if ids[i] != ids[j]]
    for i in range(N):
        T = scale * normalize(linear(h[i, : LENGTHS[i]]), dim=1) @ g.T  # [T_i, N]
        if objective.spec.bound == "jsd":
            others = sum(softplus(T[:, j]).mean() for _, j in (pair for pair in negatives if pair[0] == i))
            total = total + softplus(-T[:, i]).mean() / N + others / len(negatives)
        else:
            among = [j for j in range(N) if ids[i] != ids[j] or i == j]
            total = total + (T[:, among].logsumexp(1) - T[:, i]).mean() / N
    return total


@pytest.mark.parametrize("bound", ["jsd", "infonce"])
@pytest.mark.parametrize("sides", SIDES)
def test_equals_the_loop_over_positions_with_equal_items(sides, bound):
    h, z, k = unit(4 * N, W, 1).view(N, 4, W).requires_grad_(), unit(N, D, 2, True), unit(N, D, 3, True)
    objective, whole = made(bound), k if len(sides) == 2 else z
    found = objective(seen(h, z, k), *sides)
    want = loop(objective, h, whole, IDS)
    assert_same(found.value, want, h, whole, objective.log_scale, objective.maps["speech"].weight)
    torch.testing.assert_close(found.parts["loss"], want.detach())
    if len(sides) == 2:  # for DDP every tower that trains has a gradient
        assert not torch.autograd.grad(found.value, z)[0].any()


@pytest.mark.parametrize("bound", ["jsd", "infonce"])
def test_sequences_of_one_step_are_items(bound):
    a, k = unit(N, D, 1), unit(N, D, 2)
    objective = LocalGlobal(bound=bound, temperature=0.2).double()
    linear = torch.nn.Linear(D, D).double()
    linear.weight.data, linear.bias.data = torch.eye(D).double(), torch.zeros(D).double()
    objective.maps["speech"] = linear
    one = {"speech": steps_of(a[:, None], torch.ones(N, dtype=torch.long))}
    found = objective(Embeddings.of(speech=a, text=k, sequence=one), "speech", "text")
    e = Embeddings.of(speech=a, text=k)
    if bound == "jsd":
        other = JSD(temperature=0.2).double()(e, "speech", "text")
        torch.testing.assert_close(found.value, other.value)
        torch.testing.assert_close(found.parts["mutual_information"], other.parts["mutual_information"])
    else:
        other = InfoNCE(temperature=0.2).double()(e, "speech", "text")
        torch.testing.assert_close(found.parts["mutual_information"], other.parts["mutual_information"].double())


def test_padding_and_order_change_nothing_and_gradcheck():
    h, z, k = unit(4 * N, W, 1).view(N, 4, W), unit(N, D, 2), unit(N, D, 3)
    objective, order = made(), torch.tensor([3, 0, 4, 1, 5, 2])
    want = objective(seen(h, z, k), "speech", "text").value
    beyond = h.masked_fill(~steps_of(h).mask()[..., None], torch.inf)
    longer = torch.nn.functional.pad(beyond, (0, 0, 0, 3), value=float("nan")).requires_grad_()
    found = objective(seen(longer, z, k), "speech", "text").value
    torch.testing.assert_close(found, want)
    assert bool(torch.isfinite(torch.autograd.grad(found, longer)[0]).all())
    moved = Embeddings.of(
        speech=z[order], text=k[order], sequence={"speech": Frames(h[order], LENGTHS[order])},
        item_ids={"speech": IDS[order]},
    )  # fmt: skip
    torch.testing.assert_close(objective(moved, "speech", "text").value, want)
    leaves = h.requires_grad_(), z.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: objective(seen(x, y, k), "speech").value, leaves)


def test_in_half_precision_at_scale_100_it_stays_finite():
    h, z = unit(4 * N, W, 1).view(N, 4, W).bfloat16(), unit(N, D, 2).bfloat16()
    for bound in ("jsd", "infonce"):
        found = LocalGlobal(bound=bound, temperature=0.01)(seen(h, z, z), "speech")
        assert bool(torch.isfinite(torch.stack([found.value, *found.parts.values()])).all())
