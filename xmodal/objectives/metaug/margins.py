"""MetAug's margin-injected regularisation (2203.05119): augmented pairs are held to margins of the original ones.

mp = min d+,  xn = max d-                                     of an anchor's original pairs
large:  s+ = min(mp, xn),  s- = max(mp, xn)
medium: s+ = s- = (mp + xn) / 2
small:  s+ = max(mp, xn),  s- = min(mp, xn)
R = mean[d~+ - s+]_+ + mean[s- - d~-]_+                       over the augmented pairs
"""

from typing import Literal

import torch
from torch import Tensor

Margins = Literal["large", "medium", "small"]


def margins_of(positive: Tensor, d: Tensor, margins: Margins) -> tuple[Tensor, Tensor]:
    """s+ and s- [rows] of each anchor; one without negatives has mp for both.

    Args:
        positive: [rows, N] bool.
        d: [rows, N] of the original pairs.
        margins: which of the three.
    """
    least = d.masked_fill(~positive, torch.inf).amin(1)
    most = torch.where(positive.all(1), least, d.masked_fill(positive, -torch.inf).amax(1))
    if margins == "medium":
        middle = (least + most) / 2
        return middle, middle
    lower, upper = torch.minimum(least, most), torch.maximum(least, most)
    return (lower, upper) if margins == "large" else (upper, lower)


def margin_rows(positive: Tensor, original: Tensor, *augmented: Tensor, margins: Margins) -> Tensor:
    """[rows, 4]: sums over an anchor's augmented pairs of both hinges, and of how many of each are above 0.

    In that order: hinges of positives, of negatives; active positives, active negatives. An anchor without negatives
    has no margins, and zeros.
    """
    s_plus, s_minus = margins_of(positive, original, margins)
    positive, negative = positive & ~positive.all(1, keepdim=True), ~positive
    hinges = [
        torch.stack([(d - s_plus[:, None]).relu() * positive, (s_minus[:, None] - d).relu() * negative], 1)
        for d in augmented
    ]
    sums = torch.stack(hinges).sum((0, 3))
    active = torch.stack([hinge > 0 for hinge in hinges]).sum((0, 3))
    return torch.cat([sums, active.to(sums.dtype)], 1)
