"""The softmax losses with soft targets, as one function of embeddings, scale and kernel.

    anchor trainable:  L = mean_i LSE_j(s a_i.k_j) - s mean_i a_i.t_i,   t = T k
    anchor frozen:     L = mean_j LSE_i(s k_j.a_i) - s mean_i a_i.t_i,   t = T^T k

Input: gathered `Embeddings` and a `Kernel` for T; a direction without the kernel has one-hot targets (equal items
share their mass). Output: a `Loss`. The targets carry no gradient of T; where the other side trains too, it gets the
mirror image of the targets (`T^T a`, `T a`), so the gradient is that of the dense formula on both sides.

`bank` puts the whole store into the trainable anchors' logsumexp in place of the batch's keys, `targets` spreads their
target mass over the whole store in place of the batch; both ask for frozen keys, and neither communicates.

Across processes each one owns its rows: it returns W/N times the sum over its own anchors (see distributed.py). Column
logsumexps are partial sums over its own rows, joined over processes.
Axes: N gathered batch, n this process's rows, D embedding; a trainable side, k frozen side, s scale.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from xmodal.batch import Embeddings, Loss
from xmodal.distributed import all_logsumexp, all_sum, world_size
from xmodal.objectives.engine.key_bank import KeyBank
from xmodal.objectives.engine.second_order import is_twice_differentiable
from xmodal.objectives.engine.store_targets import StoreTargets
from xmodal.objectives.engine.streaming import two_way_logsumexp
from xmodal.objectives.engine.tiles import row_blocks, sum_type
from xmodal.objectives.kernels import ONE_HOT, Kernel
from xmodal.same_items import SameItems

Anchor = Literal["trainable", "frozen", "both"]
Reduction = Literal["mean", "sum"]

SAMPLED = 64  # anchors whose targets are looked at for the log
SAMPLED_OVER_STORE = 8


def soft_target_loss(
    embeddings: Embeddings,
    trainable: str,
    frozen: str,
    scale: Tensor,
    kernel: Kernel,
    anchor: Anchor = "trainable",
    reduction: Reduction = "mean",
    bank: KeyBank | None = None,
    targets: StoreTargets | None = None,
    relation: Sequence[str] = (),
) -> Loss:
    """Both directions between the sides `trainable` and `frozen`; `anchor` names those whose targets `kernel` makes.

    `relation` names what else makes items the same, besides their ids: "label".

    `scale` has one element, or one for each pair [N], which is the scale of both its anchors: logits are then
    `s_i a_i.k_j` in the one direction and `s_i k_i.a_j` in the other, made in two passes. `reduction` is over the two
    directions; over anchors it is always the mean. Computed in fp32, or float64 where the embeddings are, also inside
    autocast.

    parts, of the whole batch: `loss`; `temperature` 1/s, the mean where there are several; `mutual_information`
    log N - L of the trainable side's one-hot loss (InfoNCE's lower bound, at most log N; with a bank log M and its M
    keys); and of the weighted targets T, on at most 64 evenly spaced anchors (8 where T is over a store): `entropy`
    H(T), `kl` the weighted directions' mean loss - H(T) (at least 0; not where T is over a store and the logsumexp is
    not), `effective_positives` (sum w)^2 / sum w^2, `diagonal_mass` T_ii.
    """
    a, k, guide = embeddings.z(trainable), embeddings.z(frozen), embeddings.guide(frozen)
    dtype = sum_type(a, k)
    with torch.autocast(a.device.type, enabled=False):
        a, k, scales = a.to(dtype), k.to(dtype), scale.reshape(-1).to(dtype)
        g = guide.detach().to(dtype)
        local, n = embeddings.local, max(len(embeddings), 1)
        same = embeddings.same(trainable, frozen, *relation)

        sides = {"trainable": (a, k), "frozen": (a, k)}
        if len(scales) == 1:
            s = scales[0]
            rows, partial_columns = two_way_logsumexp(embeddings.z(trainable)[local], embeddings.z(frozen), s)
        else:  # in each direction the anchors take the scales on; what is left for the logits is 1
            s = scales.new_ones(())
            sides = {"trainable": (a * scales[:, None], k), "frozen": (a, k * scales[:, None])}
            rows, _ = two_way_logsumexp(sides["trainable"][0][local], k, s)
            _, partial_columns = two_way_logsumexp(a[local], sides["frozen"][1], s)
        columns = all_logsumexp(partial_columns)[local]
        anchors = sides["trainable"][0][local]
        if bank is not None:
            rows = bank.row_logsumexp(anchors, s)
        weighted: set[str] = {"trainable", "frozen"} if anchor == "both" else {anchor}
        if targets is None:
            pulls = _attraction(sides, g, same, local, kernel, weighted)
        else:
            pulls = {"trainable": (anchors * targets(g[local])).sum()}
        pulls |= _attraction(sides, g, same, local, ONE_HOT, {"trainable", "frozen"} - weighted)
        sums = {"trainable": rows.sum() - s * pulls["trainable"], "frozen": columns.sum() - s * pulls["frozen"]}
        factor = 0.5 if reduction == "mean" else 1.0
        value = (sums["trainable"] + sums["frozen"]) * (factor * world_size() / n)

        with torch.no_grad():
            pairs = rows.sum() - s * (anchors * k[local]).sum()
            means = all_sum(torch.stack([sums["trainable"], sums["frozen"], pairs])) / n
            losses = {"trainable": means[0], "frozen": means[1]}
            parts = {
                "loss": factor * (means[0] + means[1]),
                "temperature": (1 / scales).mean(),
                "mutual_information": math.log(n if bank is None else len(bank)) - means[2],
            }
            if targets is None:
                parts |= target_statistics(kernel, g, same)
            else:
                parts |= store_statistics(targets, g, embeddings.item_ids[frozen])
            weighted_loss = torch.stack([losses[name] for name in sorted(weighted)]).mean()
            if targets is None or bank is not None:
                parts["kl"] = (weighted_loss - parts["entropy"]).clamp(min=0)
        return Loss(value=value, parts=parts)


def target_statistics(kernel: Kernel, guide: Tensor, same: SameItems) -> dict[str, Tensor]:
    """`entropy`, `effective_positives` and `diagonal_mass` of T, means over at most 64 evenly spaced anchors.

    Exact for each anchor looked at, and for the batch when N <= 64; equal on every process, without communication.
    """
    return row_statistics(lambda index: kernel.rows(guide, same, index), len(guide), guide)


def row_statistics(rows: Callable[[Tensor], Tensor], columns: int, like: Tensor) -> dict[str, Tensor]:
    """The same of targets [N, columns] given by their rows; row i's own item is column i. `like` has N rows."""
    index = _evenly(len(like), SAMPLED, like.device)
    blocks = ((rows(index[at]), index[at].unsqueeze(1)) for at in row_blocks(len(index), columns))
    return _statistics(blocks, len(index), like)


def store_statistics(targets: StoreTargets, guide: Tensor, item_ids: Tensor) -> dict[str, Tensor]:
    """The same of targets over a store, on at most 8 anchors."""
    index = _evenly(len(guide), SAMPLED_OVER_STORE, guide.device)
    own = torch.searchsorted(targets.bank.ids.to(guide.device), item_ids[index]).unsqueeze(1)
    blocks = ((targets.rows(guide[index[at]]), own[at]) for at in row_blocks(len(index), len(targets.bank)))
    return _statistics(blocks, len(index), guide)


def _evenly(total: int, most: int, device: torch.device) -> Tensor:
    return torch.linspace(0, max(total - 1, 0), min(most, total), device=device).round().long()


def _statistics(blocks: Iterable[tuple[Tensor, Tensor]], anchors: int, like: Tensor) -> dict[str, Tensor]:
    """Means over the rows of the blocks; with each block the places [rows, 1] of its rows' own items."""
    sums = like.new_zeros(3)
    for T, own in blocks:
        sums += torch.stack([torch.special.entr(T).sum(), (1 / (T * T).sum(1)).sum(), T.gather(1, own).sum()])
    entropy, positives, diagonal_mass = sums / max(anchors, 1)
    return {"entropy": entropy, "effective_positives": positives, "diagonal_mass": diagonal_mass}


def _attraction(
    sides: Mapping[str, tuple[Tensor, Tensor]],
    guide: Tensor,
    same: SameItems,
    local: slice,
    kernel: Kernel,
    directions: set[str],
) -> dict[str, Tensor]:
    """The attraction of each direction between its own two sides; both directions at once where these are the same."""
    if len(directions) == 2 and sides["trainable"][0] is not sides["frozen"][0]:
        apart = [_attraction(sides, guide, same, local, kernel, {name}) for name in sorted(directions)]
        return apart[0] | apart[1]
    a, k = sides[min(directions, default="trainable")]
    return _attraction_between(a, k, guide, same, local, kernel, directions)


def _attraction_between(
    a: Tensor,
    k: Tensor,
    guide: Tensor,
    same: SameItems,
    local: slice,
    kernel: Kernel,
    directions: set[str],
) -> dict[str, Tensor]:
    """`sum_i a_i.t_i` over own rows for each direction: its gradient is t for a and, where k trains, T's mirror for k.

    Written per item the mirror term is the same sum seen from the other side. Adding it minus itself changes no value
    and hands k its gradient at own rows, complete over the whole batch.
    """
    if not directions:
        return {}
    if is_twice_differentiable():
        rows = kernel.rows(guide, same, torch.arange(len(guide), device=guide.device)[local]).detach()
        sides = {"trainable": (a, k), "frozen": (k, a)}
        return {name: (sides[name][0][local] * (rows @ sides[name][1])).sum() for name in directions}
    both_train = k.requires_grad and torch.is_grad_enabled()
    fixed_a, fixed_k = a.detach(), k.detach()
    right = {"k": fixed_k} if "trainable" in directions else {}
    left = {"k": fixed_k} if "frozen" in directions else {}
    if both_train:
        right |= {"a": fixed_a} if "frozen" in directions else {}
        left |= {"a": fixed_a} if "trainable" in directions else {}
    forward, transposed = kernel.products(guide, same, local, tuple(right.values()), tuple(left.values()))
    T, T_t = dict(zip(right, forward, strict=True)), dict(zip(left, transposed, strict=True))

    pulls = {}
    for name in directions:
        target, mirror = (T["k"], T_t.get("a")) if name == "trainable" else (T_t["k"], T.get("a"))
        pull = (a[local] * target).sum()
        if mirror is not None:
            from_k = (k[local] * mirror).sum()
            pull = pull + (from_k - from_k.detach())
        pulls[name] = pull
    return pulls
