"""A kernel's targets over a whole store: t_i = sum_j w_ij k_j / sum_j w_ij, j over all M keys.

Input: the guide features of a batch's own rows; here they are keys themselves (identity head). Output: t [n, D]. The
affine kernel needs the moments of the store alone, made once; the others pass over the store for every batch. Items of
the store are distinct, so none but the anchor's own key has cosine 1.

Axes: n anchors, M keys of the store, D embedding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from xmodal.objectives.engine.key_bank import KeyBank
from xmodal.objectives.engine.tiles import row_blocks
from xmodal.objectives.kernels import Affine, Kernel


class StoreTargets:
    """`kernel` over the keys of `bank`.

    Example:
        targets = StoreTargets(Affine(), bank)
        pull = (a * targets(k)).sum()
    """

    def __init__(self, kernel: Kernel, bank: KeyBank) -> None:
        self.kernel, self.bank = kernel, bank
        self._moments: tuple[Tensor, Tensor, Tensor] | None = None
        self._mean: Tensor | None = None

    @torch.no_grad()
    def __call__(self, guide: Tensor) -> Tensor:
        """t [n, D] of the anchors whose frozen items are `guide` [n, D], unit norm; no gradient."""
        g = self._centred(guide)
        if isinstance(self.kernel, Affine):
            t = self._affine(g)
        elif self.kernel.elementwise:
            t = self._in_one_pass(g)
        else:
            t = torch.cat([self._rows(g[at]) for at in row_blocks(len(g), len(self.bank))])
        return torch.lerp(t, guide, self.kernel.identity_mix) if self.kernel.identity_mix else t

    @torch.no_grad()
    def rows(self, guide: Tensor) -> Tensor:
        """The rows of T [n, M] of these anchors, for inspection; without `identity_mix`."""
        w = self._weights(self._centred(guide))
        return w / w.sum(1, keepdim=True)

    def _centred(self, guide: Tensor) -> Tensor:
        if not self.kernel.centre:
            return guide
        if self._mean is None:
            total = torch.zeros(self.bank.width, dtype=torch.float64, device=guide.device)
            for _, k in self.bank.blocks(guide.device, torch.float64):
                total += k.sum(0)
            self._mean = total / len(self.bank)
        return F.normalize(guide - self._mean.to(guide), dim=1)

    def _affine(self, g: Tensor) -> Tensor:
        """(sum_j k_j + g_i . sum_j g_j k_j^T) / (M + g_i . sum_j g_j)."""
        if self._moments is None:
            keys, guides = (torch.zeros(self.bank.width, dtype=torch.float64, device=g.device) for _ in range(2))
            outer = torch.zeros(self.bank.width, self.bank.width, dtype=torch.float64, device=g.device)
            for _, k in self.bank.blocks(g.device, torch.float64):
                own = self._centred(k)
                keys += k.sum(0)
                guides += own.sum(0)
                outer.addmm_(own.T, k)
            self._moments = keys, guides, outer
        keys, guides, outer = (x.to(g) for x in self._moments)
        return torch.addmm(keys, g, outer) / (len(self.bank) + g @ guides).unsqueeze(1)

    def _in_one_pass(self, g: Tensor) -> Tensor:
        pulled, total = torch.zeros_like(g), g.new_zeros(len(g), 1)
        for _, k in self.bank.blocks(g.device, g.dtype):
            w = self.kernel.weights(g @ self._centred(k).T)
            pulled.addmm_(w, k)
            total += w.sum(1, keepdim=True)
        return pulled / total

    def _rows(self, g: Tensor) -> Tensor:
        w = self._weights(g)
        pulled = torch.zeros_like(g)
        for at, k in self.bank.blocks(g.device, g.dtype):
            pulled.addmm_(w[:, at], k)
        return pulled / w.sum(1, keepdim=True)

    def _weights(self, g: Tensor) -> Tensor:
        cosine = g.new_empty(len(g), len(self.bank))
        for at, k in self.bank.blocks(g.device, g.dtype):
            cosine[:, at] = g @ self._centred(k).T
        return self.kernel.weights(cosine)
