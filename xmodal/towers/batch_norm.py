"""Batch normalisation over the batch of all processes: a head with it computes the same on one process and on many."""

import torch
from torch import Tensor, nn

from xmodal.distributed import all_sum, world_size


class BatchNorm(nn.BatchNorm1d):
    """`(x - mean) / sqrt(var + eps) * weight + bias`, in training with mean and variance of the global batch.

    State and evaluation are those of `nn.BatchNorm1d`. The gradient through the statistics is exact on any number of
    processes (see `distributed.py`). In training every process must call it at the same moment, also with no rows.
    A batch of a single row, which torch refuses, becomes the bias. Sums are made in fp32 or float64.

    Example:
        BatchNorm(512)(x).shape  # [B, 512], as x
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, D] -> [B, D]."""
        if not self.training or (world_size() == 1 and len(x) > 1):
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            wide = x.to(torch.promote_types(x.dtype, torch.float32))
            sums = all_sum(torch.cat([wide.sum(0), wide.new_tensor([float(len(x))])]))
            count = sums[-1].detach().clamp(min=1)
            mean = sums[:-1] / count
            variance = all_sum((wide - mean).square().sum(0)) / count
            self._remember(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
            return ((wide - mean) * (variance + self.eps).rsqrt() * self.weight + self.bias).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, unbiased: Tensor) -> None:
        """Move the running statistics, which evaluation uses, as torch does."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
        self.running_var.lerp_(unbiased.to(self.running_var), self.momentum)


def over_processes(module: nn.Module) -> bool:
    """Must every process call this module, also without rows?"""
    return any(isinstance(part, BatchNorm) for part in module.modules())
