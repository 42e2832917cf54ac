"""Encoding in chunks as one node of the graph: the gradients of plain chunks, random numbers and autocast included."""

import torch
from torch import nn

from xmodal.aligner.chunked import features_in_chunks


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.GELU(), nn.Dropout(0.5), nn.Linear(8, 3)).double()


def chunks():
    x = torch.randn(11, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return [{"x": part} for part in x.split(4)]


def encoder(net):
    def encode(rows):
        return nn.functional.normalize(net(rows["x"]), dim=1)

    return encode


def run(how, net, weights):
    torch.manual_seed(7)
    z = how(net)
    after = torch.rand(1)
    value = (z * weights).sum() + (z @ z.T).exp().mean()
    return z, after, torch.autograd.grad(value, list(net.parameters()), allow_unused=True)


def plain(net):
    return torch.cat([encoder(net)(rows) for rows in chunks()])


def one_node(net):
    return features_in_chunks(encoder(net), chunks(), list(net.parameters()))


def test_values_gradients_and_random_numbers_are_those_of_plain_chunks():
    weights = torch.randn(11, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(run(one_node, model(), weights), run(plain, model(), weights), rtol=1e-12, atol=1e-12)


def test_the_backward_pass_leaves_the_random_numbers_alone():
    net = model()
    z = one_node(net)
    torch.manual_seed(3)
    z.sum().backward()
    after = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(1))


def test_a_parameter_that_is_not_used_has_no_gradient():
    net = model()
    spare = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    z = features_in_chunks(encoder(net), chunks(), [*net.parameters(), spare])
    z.sum().backward()
    assert spare.grad is None


def test_autocast_is_the_same_in_both_passes():
    torch.manual_seed(0)
    net = nn.Linear(5, 3)
    seen = []

    def encode(rows):
        features = net(rows["x"].float())
        seen.append(features.dtype)
        return features.float()

    with torch.autocast("cpu", torch.bfloat16):
        z = features_in_chunks(encode, chunks(), list(net.parameters()))
    z.sum().backward()
    assert seen == [torch.bfloat16] * 6


def test_two_parameters_with_one_gradient_tensor():
    a, b = (nn.Parameter(torch.ones(1, dtype=torch.float64)) for _ in range(2))

    def encode(rows):
        return rows["x"][:, :1] * (a + b)

    z = features_in_chunks(encode, chunks(), [a, b])
    total = sum(float(rows["x"][:, 0].sum()) for rows in chunks())
    for found in torch.autograd.grad(z.sum(), [a, b]):
        torch.testing.assert_close(float(found), total)
