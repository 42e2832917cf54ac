"""What targets a kernel makes, known from the guide's stored features alone.

Input: batches of pairs drawn from the training data, with the guide's features. Output: means over their anchors of the
targets' statistics, and why a kernel is not worth a run.

Axes: N pairs of a batch, n anchors, G guide.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xmodal.config.schema import RunConfig
from xmodal.data.manifest import read_pairs
from xmodal.errors import UserError
from xmodal.objectives.engine.tiles import row_blocks
from xmodal.objectives.kernels import Kernel
from xmodal.same_items import SameItems
from xmodal.store import EmbeddingStore, view_id

BATCHES = 4  # drawn
PAIRS = 64  # in each, where the run's batches are counted in seconds


@dataclass(frozen=True)
class GuideBatch:
    """Guide features [N, G] of unit norm, who is the same item, and labels [N] (-1: none)."""

    guide: Tensor
    same: SameItems
    labels: Tensor


@dataclass(frozen=True)
class TargetStatistics:
    """Means over anchors of the rows of T.

    entropy: H(T_i). effective_positives: (sum_j w)^2 / sum_j w^2. diagonal_mass: T_ii. spread: the mass on other items,
    not equal to the anchor's. same_label: the mass on items of the anchor's label, over anchors that have one; None
    where none has. pairs: N.
    """

    entropy: float
    effective_positives: float
    diagonal_mass: float
    spread: float
    same_label: float | None
    pairs: int

    def as_dict(self) -> dict[str, float | None]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        label = "" if self.same_label is None else f", {self.same_label:.3f} on its label"
        return (
            f"{self.effective_positives:.1f} effective positives of {self.pairs}, {self.spread:.3f} of the mass on "
            f"other items{label}"
        )


def target_statistics_of(kernel: Kernel, batches: Sequence[GuideBatch]) -> TargetStatistics:
    """The statistics of a kernel's targets over all anchors of some batches."""
    rows, labelled = [], []
    for batch in batches:
        own = torch.arange(len(batch.guide))
        for at in row_blocks(len(own), len(own)):
            index = own[at]
            T = kernel.rows(batch.guide, batch.same, index)
            equal = batch.same.fill(torch.zeros_like(T), index, 1.0)
            columns = [
                torch.special.entr(T).sum(1),
                T.sum(1) ** 2 / (T * T).sum(1),
                T.gather(1, index[:, None])[:, 0],
                (T * (1 - equal)).sum(1),
            ]
            rows.append(torch.stack(columns, 1))
            known = batch.labels[index] >= 0
            alike = batch.labels[index][:, None] == batch.labels[None]
            labelled.append((T * alike).sum(1)[known])
    entropy, positives, diagonal, spread = torch.cat(rows).double().mean(0).tolist()
    on_label = torch.cat(labelled)
    same_label = float(on_label.double().mean()) if len(on_label) else None
    return TargetStatistics(entropy, positives, diagonal, spread, same_label, len(batches[0].guide))


def why_left_out(found: TargetStatistics, least_spread: float, most_uniform: float) -> str:
    """Why targets like these are not worth a run; "" where they are."""
    if found.spread < least_spread:
        return f"almost one-hot: {found.spread:.4f} of the mass on other items, less than {least_spread:g}"
    share = found.effective_positives / found.pairs
    if share > most_uniform:
        return f"almost uniform: {share:.4f} of the batch are effective positives, more than {most_uniform:g}"
    return ""


def drawn_batches(config: RunConfig, group: Sequence[str]) -> list[GuideBatch]:
    """Batches of pairs drawn at random, as large as the run's; the last side of `group` guides and has a store.

    Pairs that the run leaves out (`data.leave_out_labels`, items the store does not hold) are not drawn. Of several
    texts of a row one is drawn; of several views in the store the first is taken.

    Raises:
        UserError: fewer than two pairs can be used.
    """
    guide = group[-1]
    manifest, items = read_pairs(
        config.data.train, {side: config.modality(side) for side in group}, config.data.made_by
    )
    tower = config.towers[guide]
    store, views = EmbeddingStore.open(tower.path), tower.views_stored  # type: ignore[attr-defined]
    labels = manifest.labels or [None] * len(manifest)
    number = {label: at for at, label in enumerate(sorted({label for label in labels if label is not None}))}
    numbers = np.array([-1 if label is None else number[label] for label in labels])
    names = np.array([view_id(int(item), 0, views) for item in items[guide].ids], np.int64)
    held = store.contains(names)
    usable = [
        row
        for row in range(len(manifest))
        if held[items[guide].of(row)].all() and labels[row] not in config.data.leave_out_labels
    ]
    if len(usable) < 2:
        raise UserError(
            f"data.train: {config.data.train} has {len(usable)} pairs that can be used, expected two or more"
        )

    def draws() -> Iterator[GuideBatch]:
        for at in range(BATCHES):
            rng = np.random.default_rng((config.seed, at))
            rows = rng.choice(usable, min(config.train.batch_size or PAIRS, len(usable)), replace=False)
            drawn = {side: items[side].first[rows] + rng.integers(items[side].count[rows]) for side in group}
            features = torch.from_numpy(store.rows(names[drawn[guide]]))
            relations = [torch.from_numpy(items[side].ids[drawn[side]]) for side in group]
            yield GuideBatch(F.normalize(features, dim=1), SameItems(*relations), torch.from_numpy(numbers[rows]))

    return list(draws())
