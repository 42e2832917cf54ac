"""Who attracts whom: row-stochastic targets T [N, N] made from the frozen side's guide features, never stored whole.

Input: guide g [N, G] (unit norm) and the item ids of the gathered batch. Output: `T x` and `T^T x` for this process's
rows, without gradient; for the sigmoid loss the same of the weights themselves, `(1 - m) w_ij + m same_ij`. A kernel
turns the cosine c_ij = g_i.g_j into a weight w_ij in [0, 1]; `T = (1 - m) w_ij / sum_j w_ij + m E_ij`, with E the
one-hot targets and m = `identity_mix`.

Equal item ids (either modality) count as cosine 1 for every kernel, the pair itself included, and so have the largest
weight, 1; in E they share the mass equally. `centre` subtracts the batch's mean guide first and renormalises.

Across processes: guides and vectors are gathered already. The affine kernel reduces its moments, each process making
those of its own rows; the others make the rows of T for their own anchors, and reduce `T^T x`.
All formulas: docs/objectives/softmax/cwcl.md. Axes: N gathered batch, n this process's rows, G guide, D embedding.
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from xmodal.config.spec import Count, KindSpec, Positive, Share
from xmodal.distributed import all_sum
from xmodal.objectives.engine.perplexity import inverse_temperature
from xmodal.objectives.engine.tiles import pair_blocks, row_blocks
from xmodal.same_items import SameItems

SPARSE = 16  # equal-id pairs per item up to which the affine kernel corrects its moments pair by pair


class Kernel(KindSpec):
    """What all kernels share; a subclass gives `weights`, and may give `products` a faster form.

    A kernel is its settings and nothing else, so it is its own spec. `centre` subtracts the mean guide feature first,
    `identity_mix` blends in one-hot targets.
    """

    centre: bool = False
    identity_mix: Share = 0.0
    elementwise: ClassVar[bool] = True  # a weight depends on its own cosine alone

    def weights(self, cosine: Tensor) -> Tensor:
        """Weights [n, N] of whole rows, from cosines that are exactly 1 at equal items. May work in place."""
        raise NotImplementedError

    def rows(self, guide: Tensor, same: SameItems, index: Tensor) -> Tensor:
        """The rows `index` [n] of T: [n, N]. For inspection and small batches; holds n N elements."""
        g = self._centred(guide)
        T = self._matrix(g, same, index, normalise=True)
        return torch.lerp(T, ONE_HOT.rows(g, same, index), self.identity_mix) if self.identity_mix else T

    def weight_rows(self, guide: Tensor, same: SameItems, index: Tensor) -> Tensor:
        """The rows `index` [n] of the weights themselves, `(1 - m) w_ij + m same_ij`: [n, N]. Holds n N elements."""
        with torch.no_grad():
            w = self._matrix(self._centred(guide), same, index, normalise=False)
            return torch.lerp(w, same.fill(torch.zeros_like(w), index, 1.0), self.identity_mix)

    def products(
        self,
        guide: Tensor,
        same: SameItems,
        local: slice,
        right: Sequence[Tensor] = (),
        left: Sequence[Tensor] = (),
        normalise: bool = True,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """`T x` for every x in `right` and `T^T x` for every x in `left`, at this process's rows, without gradient.

        x: [N, D] gathered; results: [n, D]. `local` of all processes together covers the batch; all must call.
        With keys k: `T k` are the targets of trainable anchors, `T^T k` those of frozen anchors. `normalise: False`
        takes the weights as they are in the place of T.
        """
        with torch.no_grad():
            forward, transposed = self._weighted(self._centred(guide), same, local, right, left, normalise)
            if self.identity_mix:
                m = self.identity_mix
                one_hot = ONE_HOT.products(guide, same, local, right, left, normalise)
                forward = [torch.lerp(t, e, m) for t, e in zip(forward, one_hot[0], strict=True)]
                transposed = [torch.lerp(t, e, m) for t, e in zip(transposed, one_hot[1], strict=True)]
            return forward, transposed

    def _centred(self, guide: Tensor) -> Tensor:
        return F.normalize(guide - guide.mean(0), dim=1) if self.centre else guide

    def _matrix(self, g: Tensor, same: SameItems, index: Tensor, normalise: bool) -> Tensor:
        w = self.weights(same.fill(g[index] @ g.T, index, 1.0))
        return w.div_(w.sum(1, keepdim=True)) if normalise else w

    def _weighted(
        self,
        g: Tensor,
        same: SameItems,
        local: slice,
        right: Sequence[Tensor],
        left: Sequence[Tensor],
        normalise: bool,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The products before mixing: blocks of own rows, all columns."""
        forward = [torch.empty_like(x[local]) for x in right]
        transposed = [torch.zeros_like(x) for x in left]
        own = torch.arange(len(g), device=g.device)[local]
        for at in row_blocks(len(own), len(g)):
            index = own[at]
            T = self._matrix(g, same, index, normalise)
            for out, x in zip(forward, right, strict=True):
                torch.mm(T, x, out=out[at])
            for out, x in zip(transposed, left, strict=True):
                out.addmm_(T.T, x[index])
        return forward, [all_sum(x)[local] for x in transposed]


class OneHot(Kernel):
    """The identity, with equal items sharing their mass equally: InfoNCE's targets. Uses no guide."""

    def rows(self, guide: Tensor, same: SameItems, index: Tensor) -> Tensor:
        """The rows `index` [n] of E: [n, N]."""
        return self.weight_rows(guide, same, index).div_(same.count[index].unsqueeze(1))

    def weight_rows(self, guide: Tensor, same: SameItems, index: Tensor) -> Tensor:
        """The rows `index` [n] of the relation itself: [n, N]."""
        return same.fill(guide.new_zeros(len(index), len(guide)), index, 1.0)

    def products(
        self,
        guide: Tensor,
        same: SameItems,
        local: slice,
        right: Sequence[Tensor] = (),
        left: Sequence[Tensor] = (),
        normalise: bool = True,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """`E x` and `E^T x` at this process's rows, in O(N D)."""
        count = same.count.unsqueeze(1) if normalise else 1
        with torch.no_grad():
            return [(same.sum(x) / count)[local] for x in right], [same.sum(x / count)[local] for x in left]


ONE_HOT = OneHot()


class Affine(Kernel):
    """`w = (1 + c) / 2`, CWCL's weights (2309.14580).

    Factorised: `sum_j w_ij x_j = (sum_j x_j + g_i . sum_j g_j x_j^T) / 2`, O(N G D) and no N x N. Equal items are
    corrected pair by pair, by `(1 - c_ij) / 2`; with more than SPARSE of them per item, by the other kernels' blocks.
    """

    def weights(self, cosine: Tensor) -> Tensor:
        """(1 + c) / 2."""
        return cosine.add_(1).mul_(0.5)

    def _weighted(
        self,
        g: Tensor,
        same: SameItems,
        local: slice,
        right: Sequence[Tensor],
        left: Sequence[Tensor],
        normalise: bool,
    ) -> tuple[list[Tensor], list[Tensor]]:
        if same.pair_count > SPARSE * len(g):
            return super()._weighted(g, same, local, right, left, normalise)
        i, j = same.pairs()
        missing = torch.cat([(1 - (g[p] * g[q]).sum(1)) / 2 for p, q in pair_blocks(i, j, g.shape[1])])

        def correction(x: Tensor) -> Tensor:
            """What equal items lack to weight 1, applied to x [N, D]: the diagonal of unit guides lacks nothing."""
            total, at = torch.zeros_like(x), 0
            for p, q in pair_blocks(i, j, x.shape[1]):
                total.index_add_(0, p, missing[at : at + len(p)].unsqueeze(1) * x[q])
                at += len(p)
            return total

        def weighted(x: Tensor) -> Tensor:
            """sum_j w_ij x_j at own rows; w is symmetric."""
            own = g[local]
            moments = all_sum(torch.cat([x[local].sum(0, keepdim=True), own.T @ x[local]]))  # [1 + G, D]
            return torch.addmm(moments[:1], own, moments[1:]).mul_(0.5).add_(correction(x)[local])

        if not normalise:
            return [weighted(x) for x in right], [weighted(x) for x in left]
        d = ((len(g) + g @ g.sum(0)) / 2).unsqueeze(1) + correction(g.new_ones(len(g), 1))  # [N, 1] sum_j w_ij
        return [weighted(x) / d[local] for x in right], [weighted(x / d) for x in left]


class Power(Kernel):
    """`w = relu(c) ** power`: large powers tend to one-hot."""

    power: Positive = 4.0

    def weights(self, cosine: Tensor) -> Tensor:
        """relu(c) ** power."""
        return cosine.clamp_(min=0).pow_(self.power)


class Exp(Kernel):
    """`w = exp((c - 1) / temperature)`. Normalised by row this IS softmax(c / temperature), X-CLR's targets."""

    temperature: Positive = 0.1

    def weights(self, cosine: Tensor) -> Tensor:
        """exp((c - 1) / temperature)."""
        return cosine.sub_(1).div_(self.temperature).exp_()


class TopK(Kernel):
    """Equal weight on the k most similar items; ties at the k-th place, and all equal items, are in."""

    k: Count = 8
    elementwise: ClassVar[bool] = False

    def weights(self, cosine: Tensor) -> Tensor:
        """1 where c reaches the row's k-th largest."""
        cosine.clamp_(max=1)  # rounding must not put another item above the pair itself
        kth = cosine.topk(min(self.k, cosine.shape[1]), dim=1).values[:, -1:]
        return (cosine >= kth).to(cosine.dtype)


class Threshold(Kernel):
    """`w = 1` where c reaches the threshold, else 0 (SimCon, 2302.03432); equal items, the pair too, are always in.

    Above 1 they alone are, however alike the guides of others: one-hot targets.
    """

    threshold: Annotated[float, Field(gt=-1, le=2)] = 0.8

    def weights(self, cosine: Tensor) -> Tensor:
        """1[c >= threshold]."""
        return (cosine >= self.threshold).to(cosine.dtype)

    def _matrix(self, g: Tensor, same: SameItems, index: Tensor, normalise: bool) -> Tensor:
        w = same.fill(self.weights(g[index] @ g.T), index, 1.0)
        return w.div_(w.sum(1, keepdim=True)) if normalise else w


class Perplexity(Kernel):
    """`w = exp(b_i (c - 1))` with the inverse temperature b_i set per row so that exp(entropy) = perplexity.

    A row of no more items than that is uniform; a row with more equal items than that is uniform over them.
    """

    perplexity: Annotated[float, Field(gt=1)] = 8.0
    elementwise: ClassVar[bool] = False

    def weights(self, cosine: Tensor) -> Tensor:
        """Row softmaxes of the wanted perplexity, up to a factor."""
        below = cosine.clamp_(max=1).sub_(1)  # c - 1 <= 0, and 0 at equal items
        return (below * inverse_temperature(below, self.perplexity).unsqueeze(1)).exp_()
