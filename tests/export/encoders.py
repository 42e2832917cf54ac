"""Encoders of tiny random towers, for tests of what they are exported to."""

from typing import Any

import torch

from xmodal.config.tower import TowerSpec
from xmodal.encoding.encoder import Encoder
from xmodal.towers import build_tower


def encoder_of(dim: int | None = None, **specs: TowerSpec) -> Encoder:
    """Towers of these specs, with random heads to `dim`; what is made zero or one at first is moved away from it."""
    torch.manual_seed(0)
    towers: dict[str, Any] = {}
    processors: dict[str, Any] = {}
    for side, spec in specs.items():
        towers[side], processors[side] = build_tower(spec, dim)
        with torch.no_grad():
            for parameter in towers[side].head.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
            for name, buffer in towers[side].head.named_buffers():
                if name.endswith(("running_mean", "running_var")):
                    buffer.add_(torch.rand_like(buffer))
        towers[side].eval()
    return Encoder(towers, processors, name="runs/tiny")
