"""Natural clusters as labels: k-means over the items of one side, for objectives that need labels.

Input: the pairs of a run and the tower of one side. Output: the same batches with cluster numbers as labels. Clusters
of fixed features are made once; those of a tower that trains every so many epochs, by its embeddings of that moment
(DeepCluster, Caron et al. 2018, 1807.05520). The labels of the manifest, where there are any, are not what an objective
then sees; `labels.json` and `data.leave_out_labels` go on speaking of them.

Axes: n pairs, m different items, K clusters, G features.
"""

import contextlib
import hashlib
import json
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xmodal.aligner.aligner import Aligner
from xmodal.batch import NO_LABEL, PairBatch
from xmodal.config.data import ClusterSpec
from xmodal.config.schema import RunConfig
from xmodal.data.dataset import PairDataset
from xmodal.data.items import different
from xmodal.data.reading import UNREADABLE
from xmodal.data.sampler import BucketSampler
from xmodal.data.seconds_sampler import SecondsSampler
from xmodal.data.stream import StreamedPairs
from xmodal.distributed import main_first, rank
from xmodal.encoding.embedding import BATCH_SIZE, encode_batch, evaluating, items_bar
from xmodal.encoding.kmeans import cluster
from xmodal.errors import UserError
from xmodal.runs.folder import newest_checkpoint
from xmodal.runs.weights import load_tensors, read_metadata, save_tensors
from xmodal.store.vectors import unit
from xmodal.towers.tower import Tower


class Clusters:
    """The labels of a run's pairs, by cluster. Every process must ask for the same steps in the same order.

    They stand in RUN/clusters/epoch-N.safetensors, N the epoch in which they were made: `ids` [n] of the pairs,
    `labels` [n], `centres` [K, G], and in the metadata a digest of what decides them. The main process makes them, the
    others read them.

    Args:
        spec: which side, how many clusters, how often.
        dataset: the pairs.
        sampler: knows in which epoch a step is.
        tower: of the side.
        folder: of the run.
        seed: of the first centres.
        device: where the tower is.

    Raises:
        UserError: fewer different items than clusters.

    Example:
        clusters = Clusters(config.data.clusters, dataset, sampler, aligner.tower("text"), config.output, 0, device)
        batch = clusters.label(batch)
    """

    def __init__(
        self,
        spec: ClusterSpec,
        dataset: PairDataset,
        sampler: BucketSampler | SecondsSampler,
        tower: Tower,
        folder: Path,
        seed: int,
        device: torch.device,
    ) -> None:
        self.spec, self.dataset, self.sampler, self.tower = spec, dataset, sampler, tower
        self.folder, self.seed, self.device = folder, seed, device
        self.side = dataset.sides[spec.side]
        self._first, self._group = different(self.side.items.ids, *dataset.items_of(spec.side))
        if len(self._first) < spec.count:
            raise UserError(
                f"data.clusters.count: {spec.count} clusters, but {dataset.path} has {len(self._first)} different "
                f"items of {spec.side}; set data.clusters.count={max(2, len(self._first))} or less, or add data"
            )
        self._by_id = np.argsort(dataset.ids, kind="stable")  # [n]
        self._labels, self._made = np.empty(0, np.int64), -1  # [n], and the epoch in which they were made

    def label(self, batch: PairBatch) -> PairBatch:
        """A batch with its clusters as labels, as they are at its step.

        Raises:
            UserError: what `open` raises.
        """
        self.open(batch.clock.step)
        ids = batch.ids.cpu().numpy()
        at = self._by_id[np.searchsorted(self.dataset.ids, ids, sorter=self._by_id)]
        return replace(batch, labels=torch.from_numpy(self._labels[at]).to(batch.labels.device))

    def open(self, step: int) -> None:
        """Make, or read, the clusters of a step, where they are not those at hand.

        Raises:
            UserError: training goes on between two clusterings, and the last one is not there.
        """
        epoch, starts = self._epoch_of(step)
        if epoch != self._made:
            self._labels, self._made = main_first(lambda: self._labels_of(epoch, starts), self.device), epoch

    def _epoch_of(self, step: int) -> tuple[int, bool]:
        """The epoch whose clusters a step sees, and whether they are made at this step."""
        every = self.spec.refresh
        if every == "never":
            return 0, step == 0
        made = self.sampler.epoch_of(step) // every * every
        return made, step == 0 or self.sampler.epoch_of(step - 1) < made

    def _path(self, epoch: int) -> Path:
        return self.folder / "clusters" / f"epoch-{epoch:06d}.safetensors"

    def _labels_of(self, epoch: int, starts: bool) -> np.ndarray:
        path = self._path(epoch)
        fixed = self.spec.refresh == "never"
        there = path.is_file() and read_metadata(path).get("made_of") == self._made_of
        if rank() == 0 and (not there if fixed else starts):
            self._make(path)
            self._forget(epoch)
        elif not there:
            raise UserError(
                f"{path}: not there, or of other pairs or settings, and the weights it was made with have moved on; "
                "restore it, or start a new run with output=..."
            )
        found = load_tensors(path)["labels"].numpy()
        self._say(found, epoch)
        return found

    def _make(self, path: Path) -> None:
        vectors = self._vectors()
        known = np.isfinite(vectors).all(1)
        if known.sum() < self.spec.count:
            raise UserError(
                f"data.clusters.count: {self.spec.count} clusters, but only {known.sum()} different items of "
                f"{self.spec.side} can be read; set a smaller one, or mend the data"
            )
        numbers = np.full(len(vectors), NO_LABEL)
        numbers[known], centres = cluster(vectors[known], self.spec.count, self.seed)
        about = {"made_of": self._made_of}
        tensors = {"ids": self.dataset.ids, "labels": numbers[self._group], "centres": centres}
        save_tensors(
            {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in tensors.items()}, path, about
        )

    @cached_property
    def _made_of(self) -> str:
        """A digest of all that decides the clusters but weights that train: pairs, items, settings, seed, the store."""
        fixed = self.spec.refresh == "never"
        store: dict[str, Any] | None = self.side.processor.store.info if fixed else None  # type: ignore[attr-defined]
        settings = [self.spec.model_dump(mode="json"), self.seed, store]
        found = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16)
        for part in (self.dataset.ids, self._group, self._first, self.side.items.ids):
            found.update(np.ascontiguousarray(part, np.int64).tobytes())
        return found.hexdigest()

    def _forget(self, epoch: int) -> None:
        """Remove the clusters that no resumed run can ask for: those before its newest checkpoint's."""
        newest = newest_checkpoint(self.folder)
        step = int(newest.name.removeprefix("step-").partition(".")[0]) if newest is not None else 0
        needed = min(epoch, self._epoch_of(step)[0]) if newest is not None else epoch
        for path in (self.folder / "clusters").glob("epoch-*.safetensors"):
            if path.name < self._path(needed).name:
                path.unlink()

    def _vectors(self) -> np.ndarray:
        """What is clustered [m, G], unit norm: of several texts in a row their mean; NaN where none can be read."""
        fixed, ids = self.spec.refresh == "never", self.side.items.ids
        places = np.concatenate([np.arange(at, at + many) for at, many in self._first])
        owners = np.repeat(np.arange(len(self._first)), self._first[:, 1])
        _, at, which = np.unique(ids[places], return_index=True, return_inverse=True)
        width = self.tower.width if fixed else self.tower.dim
        found = np.full((len(at), width), np.nan, np.float32)
        with items_bar(f"clustering {self.spec.side}", len(at)) as bar, evaluating(self.tower):
            for start in range(0, len(at), BATCH_SIZE):
                rows, features = [], []
                for row in range(start, min(start + BATCH_SIZE, len(at))):
                    with contextlib.suppress(*UNREADABLE):  # it comes into no batch either, and is counted there
                        features.append(self.side.plain(int(places[at[row]])))
                        rows.append(row)
                if rows:
                    what = "features" if fixed else "z"
                    found[rows] = encode_batch(self.tower, self.side.processor, features, self.device, what).numpy()
                bar.update(min(BATCH_SIZE, len(at) - start))
        each = unit(found)[which.reshape(-1)]
        read = np.isfinite(each).all(1)
        sums = np.zeros((len(self._first), width), np.float32)
        np.add.at(sums, owners[read], each[read])
        sums[np.bincount(owners[read], minlength=len(sums)) == 0] = np.nan
        return unit(sums)

    def _say(self, labels: np.ndarray, epoch: int) -> None:
        """A line for the tally, once."""
        if self._made >= 0:
            return
        sizes = np.bincount(labels[labels >= 0])
        sizes = sizes[sizes > 0]
        told = (
            f"labels: {len(sizes)} clusters of {self.spec.side} by k-means over {len(self._first):,} different items, "
            f"{sizes.min():,} to {sizes.max():,} pairs each"
        )
        if self.spec.refresh != "never":
            told += f", of epoch {epoch}, made anew every {self.spec.refresh} epochs"
        own = self.dataset.labels
        if own is not None:
            from sklearn.metrics import normalized_mutual_info_score  # late: a second that few runs need

            both = (own >= 0) & (labels >= 0)
            alike = normalized_mutual_info_score(own[both], labels[both])
            told += f"; the manifest's own are not used (normalised mutual information {alike:.2f})"
        self.dataset.tally.notes.append(told)


def clusters_of(
    config: RunConfig,
    dataset: PairDataset | StreamedPairs,
    sampler: BucketSampler | SecondsSampler | None,
    aligner: Aligner,
    device: torch.device,
) -> Clusters | None:
    """The clusters that a run labels its pairs by, where it does; raises as `Clusters` does."""
    spec = config.data.clusters
    if spec is None or isinstance(dataset, StreamedPairs) or sampler is None:
        return None
    return Clusters(spec, dataset, sampler, aligner.tower(spec.side), config.output, config.seed, device)
