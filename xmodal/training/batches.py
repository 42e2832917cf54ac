"""The batches of a run from a step on, on the run's device and with its clock."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch.utils.data import DataLoader

from xmodal.batch import Clock, PairBatch
from xmodal.config.schema import RunConfig
from xmodal.data.dataset import PairDataset
from xmodal.data.sampler import BucketSampler
from xmodal.data.seconds_sampler import SecondsSampler
from xmodal.data.stream import StreamedPairs
from xmodal.errors import UserError


def batches_from(
    start: int,
    config: RunConfig,
    dataset: PairDataset | StreamedPairs,
    sampler: BucketSampler | SecondsSampler | None,
    device: torch.device,
) -> Iterator[PairBatch]:
    """This process's batches of the steps `start` to `train.steps`.

    Raises:
        UserError: data that cannot be used, also where a worker process found it.
    """
    own = torch.Generator()  # drawing from the global one would tell resumed runs from whole ones
    workers = config.data.workers
    if isinstance(dataset, StreamedPairs):  # one worker reads ahead; more would each read the whole stream
        stream = dataset.iterate_from(start)
        loader = DataLoader(stream, batch_size=None, num_workers=min(1, workers), generator=own)
    else:
        assert sampler is not None
        order = sampler.iterate_from(start)
        loader = DataLoader(dataset, sampler=order, batch_size=None, num_workers=workers, generator=own)
    batches, steps = iter(loader), config.train.steps
    for step in range(start, steps):
        try:
            batch = next(batches)
        except UserError as error:  # from a worker it comes wrapped in that worker's traceback
            text = str(error).strip()
            raise UserError(text.rpartition("xmodal.errors.UserError: ")[2] if workers else text) from None
        yield replace(batch, clock=Clock(step, steps)).to(device)
