"""Row softmaxes of a wanted perplexity: the inverse temperature of each."""

import math

import torch
from torch import Tensor


def inverse_temperature(x: Tensor, perplexity: float) -> Tensor:
    """b [n] with exp(entropy(softmax(b x))) = perplexity, x [n, N] at most 0: Newton steps kept in a bracket.

    Entropy falls with b, `dH/db = -b Var(x)`; bisection takes over where a Newton step leaves the bracket.
    """
    wanted, ceiling = math.log(perplexity), 1 / torch.finfo(x.dtype).eps
    low, high = x.new_zeros(len(x)), x.new_full((len(x),), math.inf)
    b = x.new_full((len(x),), 10.0)
    ties = (x >= 0).sum(1)
    settled = torch.full_like(ties, x.shape[1] <= perplexity, dtype=torch.bool)  # uniform, or uniform over ties
    b[settled] = 0
    b[~settled & (ties >= perplexity)] = ceiling
    settled |= ties >= perplexity
    tolerance = 64 * torch.finfo(x.dtype).eps
    for _ in range(64):
        p = (x * b.unsqueeze(1)).exp_()
        z = p.sum(1)
        mean = (p * x).sum(1) / z
        variance = (p * x * x).sum(1) / z - mean**2
        excess = z.log() - b * mean - wanted  # entropy - wanted
        settled = settled | (excess.abs() < tolerance) | (b >= ceiling)
        if bool(settled.all()):
            break
        low = torch.where(excess > 0, b, low)
        high = torch.where(excess > 0, high, b)
        newton = b + excess / (b * variance)
        middle = torch.where(high.isinf(), 2 * b, (low + high) / 2)
        step = torch.where((newton > low) & (newton < high), newton, middle)
        b = torch.where(settled, b, step)
    return b
