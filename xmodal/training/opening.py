"""Before the first step: the data are there, the run folder is open, the stores are made, the pairs are read."""

import logging
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import DistributedType

from xmodal.config.schema import RunConfig
from xmodal.config.terms.needs import needs_of, queue_of
from xmodal.config.terms.terms import key_of
from xmodal.config.tower import TowerSpec
from xmodal.config.train_spec import HardBatches, guide_of_batches
from xmodal.data.dataset import PairDataset
from xmodal.data.hard.guide_items import guide_items
from xmodal.data.hard.hard_sampler import HardSampler
from xmodal.data.hard.kept_lists import lists_line, neighbour_lists
from xmodal.data.sampler import BucketSampler
from xmodal.data.seconds_sampler import SecondsSampler
from xmodal.data.stream import StreamedPairs
from xmodal.data.teacher import Teacher
from xmodal.distributed import main_first, rank
from xmodal.encoding.stores.build import build_store
from xmodal.errors import UserError
from xmodal.processor import Processor
from xmodal.runs.folder import newest_checkpoint, open_run
from xmodal.runs.lock import hold
from xmodal.runs.weights import FILE
from xmodal.store import EmbeddingStore
from xmodal.towers import build_tower
from xmodal.towers.kinds.run import RunTower
from xmodal.towers.kinds.store import StoreTower

log = logging.getLogger(__name__)

CPU = torch.device("cpu")
WHOLE = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)  # one process, or DDP
# what tells a process that it is one of several: a run trained first is trained by one
PROCESS_GROUP = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Opened:
    """What was found in the run folder: the checkpoint to go on from, and what changed since."""

    checkpoint: Path | None
    changed: tuple[str, ...] = ()
    write_config: bool = False  # is config.yaml to be written anew?


def open_everything(config: RunConfig, device: torch.device) -> Opened:
    """The run folder, by the main process; and the stores, which all processes make together.

    Raises:
        UserError: no data, a run folder that cannot be used, a store that cannot be made.
    """
    opened = main_first(lambda: _open_folder(config), device)
    main_first(lambda: require_alike_teachers(config) if rank() == 0 else None, device)
    for key, side, spec in config.all_towers():
        if isinstance(spec, StoreTower.Spec):
            build_store(spec, config, side, device=device, key=key)
    return opened


def _open_folder(config: RunConfig) -> Opened:
    if rank() == 0:
        train_first(config)
    if not str(config.data.train).startswith("hub:") and not config.data.train.exists():
        hint = f"; make it with `{config.data.made_by}`" if config.data.made_by else ""
        raise UserError(f"data.train: {config.data.train} does not exist{hint}")
    if rank() == 0 and config.output.is_dir():
        hold(config.output)
    checkpoint, changed, anew = open_run(config) if rank() == 0 else (newest_checkpoint(config.output), [], False)
    if rank() == 0:
        hold(config.output)
    return Opened(checkpoint, tuple(changed), anew)


def read_pairs_of(
    config: RunConfig, processors: dict[str, Processor], rank: int, world: int, device: torch.device = CPU
) -> tuple[PairDataset | StreamedPairs, BucketSampler | SecondsSampler | None]:
    """The pairs, and what orders them; a stream has its own order. `device`: where this process's collectives run.

    Raises:
        UserError: data that cannot be used; labels that a term needs and the data do not have.
    """
    modalities = {name: config.modality(name) for name in config.towers}
    size, place = config.train.batch_size, {"rank": rank, "world": world}
    if config.data.streaming:
        assert size is not None  # the config refuses batch_seconds of a stream
        stream = StreamedPairs(config.data, modalities, processors, config.seed, size, **place)
        if not stream.has_labels:
            require_no_labels(config)
        return stream, None
    stores = {side: spec.path for side, spec in config.teachers.items() if isinstance(spec, StoreTower.Spec)}
    teachers = {side: Teacher(side, EmbeddingStore.open(path)) for side, path in stores.items()}
    dataset = PairDataset(config.data, modalities, processors, config.seed, teachers=teachers)
    if config.data.clusters is not None:
        pass  # they are the labels
    elif not dataset.label_names:
        require_no_labels(config)
    elif needs_labels(config) and dataset.unlabelled:
        dataset.tally.notes.append(f"{dataset.unlabelled:,} of {len(dataset):,} pairs used have no label")
    if size is not None:
        look_at_queues(config, dataset, size)
    if isinstance(config.train.sampler, HardBatches):
        return dataset, with_hard_negatives(config, config.train.sampler, dataset, rank, world, device)
    if size is not None:
        return dataset, BucketSampler(dataset.lengths, size, config.seed, config.data.buckets, **place)
    sampler = by_seconds(config, dataset, rank, world)
    look_at_queues(config, dataset, max(map(len, sampler.epoch(0))))
    return dataset, sampler


def look_at_queues(config: RunConfig, dataset: PairDataset, batch: int) -> None:
    """Note queues with more places than there are pairs; raise `UserError` for one smaller than a `batch`."""
    for name, spec in config.term_specs().items():
        size = queue_of(spec)
        if size is not None and size < batch:
            raise UserError(
                f"{key_of(config, name)}.queue: {size} places, and a batch has up to {batch} pairs: of each batch it "
                f"would drop a part; set it to at least {batch}"
            )
        if size is not None and size > len(dataset):
            dataset.tally.notes.append(
                f"{key_of(config, name)}.queue: {size:,} places and {len(dataset):,} pairs: an item is in it more than "
                "once, as it was at different steps"
            )


def by_seconds(config: RunConfig, dataset: PairDataset, rank: int, world: int) -> SecondsSampler:
    """What orders pairs into batches of `train.batch_seconds`; items longer than that are counted as left out.

    Raises:
        UserError: no two items fit into a batch.
    """
    seconds = config.train.batch_seconds
    assert seconds is not None
    sampler = SecondsSampler(dataset.lengths, seconds, config.seed, config.data.buckets, rank, world)
    dataset.tally.lose(
        (dataset.names[row], f"{dataset.lengths[row]:.2f} s, more than train.batch_seconds={seconds:g}")
        for row in sampler.too_long
    )
    dataset.tally.notes.append(sampler.summary())
    return sampler


def with_hard_negatives(
    config: RunConfig, spec: HardBatches, dataset: PairDataset, rank: int, world: int, device: torch.device
) -> HardSampler:
    """What orders pairs so that near ones meet; what the lists hold and how much is mined are among the notes.

    The neighbour lists are made by the main process, and kept in the run's folder.

    Raises:
        UserError: labels are asked for and the data have none; a search that is not installed.
    """
    guide, size = guide_of_batches(config), config.train.batch_size
    assert guide is not None
    assert size is not None  # the config refuses hard negatives without them
    if spec.other_labels and not dataset.label_names:
        raise UserError(
            f"train.sampler.other_labels: {config.data.train} has no column `label`; add one, or leave other_labels out"
        )
    items = guide_items(dataset, guide, spec.other_labels)
    lists = main_first(lambda: neighbour_lists(config.output, items, spec, device), device)
    sampler = HardSampler(items.of_pair, items.groups, lists, spec.share, size, config.seed, rank, world)
    dataset.tally.notes += [lists_line(config.output, lists), sampler.summary()]
    return sampler


def require_no_labels(config: RunConfig) -> None:
    """Raise `UserError` where a term needs labels; for data without any."""
    for name in needs_labels(config):
        clusters = "" if config.data.streaming else ", set data.clusters,"
        raise UserError(
            f"{key_of(config, name)}: {config.term_specs()[name].kind} needs labels, and {config.data.train} has no "
            f"column `label` with any; add one{clusters} or choose another objective"
        )


def needs_labels(config: RunConfig) -> list[str]:
    """The terms that need labels."""
    return [
        name
        for name, spec in config.term_specs().items()
        if any(need.what == "labels" for group in config.groups(spec) for need in needs_of(spec, group))
    ]


def require_alike_teachers(config: RunConfig) -> None:
    """Raise `UserError` where a term compares teachers of unequal width; known before a corpus is embedded."""
    widths: dict[str, int] = {}
    for spec in config.term_specs().values():
        for group in config.groups(spec):
            sides = [need.side for need in needs_of(spec, group) if need.what == "teacher"]
            for side in sides:
                widths[side] = widths.get(side) or _width(config.teachers[side])
            odd = next((side for side in sides if widths[side] != widths[sides[0]]), None)
            if odd is not None:
                raise UserError(
                    f"teachers.{odd}: its embeddings have {widths[odd]} numbers, and those of teachers.{sides[0]} "
                    f"{widths[sides[0]]}; name the two sides of one dual encoder"
                )


def _width(spec: TowerSpec) -> int:
    """Of a teacher's embeddings: its store tells, where it is made; else the tower must be loaded."""
    assert isinstance(spec, StoreTower.Spec)
    if (spec.path / "store.json").is_file():
        return EmbeddingStore.open(spec.path).width
    return build_tower(spec.tower)[0].width


def train_first(config: RunConfig) -> None:
    """Train the runs whose towers this one takes over, where they are not there yet and their config is named.

    Raises:
        UserError: one of them fails.
    """
    alone = {name: value for name, value in os.environ.items() if name not in PROCESS_GROUP}
    for key, _, spec in config.all_towers():
        tower = spec.live
        if not isinstance(tower, RunTower.Spec) or tower.config is None or (tower.path / FILE).is_file():
            continue
        log.warning("%s: %s is trained first, by %s", key, tower.path, tower.config)
        command = [sys.executable, "-m", "xmodal", "train", tower.config, f"output={tower.path}", "train.resume=true"]
        code = subprocess.run(command, env=alone, check=False).returncode
        if code:
            raise UserError(f"{key}.config: training {tower.path} by {tower.config} failed; see above")


def require_whole_parameters(kind: DistributedType) -> None:
    """Raise `UserError` where parameters are sharded over processes: checkpoints and locked towers need them whole."""
    if kind not in WHOLE:
        raise UserError(
            f"accelerate: found distributed type {kind.value}, expected one process or DDP; the large tower is locked "
            "and has no optimizer state, so there is little to shard: run `accelerate config` without FSDP, DeepSpeed, "
            "Megatron or TPU, and use train.chunk or towers read from a store where memory is short"
        )
