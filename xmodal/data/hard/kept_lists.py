"""A run's neighbour lists, made once and kept in its folder.

    RUN/neighbours.npy    [m, K] int32, nearest first, -1 for none
    RUN/neighbours.json   what they were made of and how; written last

Whoever goes on with the run reads the same lists, memory-mapped, whatever is installed there. Where the file was made
of other pairs, features or settings the lists are made again.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xmodal.config.train_spec import HardBatches
from xmodal.data.hard.guide_items import GuideItems
from xmodal.data.hard.nearest import Allowed, approximate_neighbours, exact_neighbours, has_index
from xmodal.errors import UserError
from xmodal.files import write_json, written_whole
from xmodal.store.form import read_json

LISTS, ABOUT = "neighbours.npy", "neighbours.json"
LARGE = 100_000  # items from which `search: auto` asks an index, where there is one


def neighbour_lists(folder: Path, items: GuideItems, spec: HardBatches, device: torch.device) -> np.ndarray:
    """The lists [m, K] of a run, memory-mapped; made where they are not there.

    Raises:
        UserError: `search: usearch` where it is not installed.
    """
    made_of = _digest(items, spec)
    about = read_json(folder / ABOUT) or {}
    if about.get("made_of") != made_of or not (folder / LISTS).is_file():
        (folder / ABOUT).unlink(missing_ok=True)
        lists, search = _make(items, spec, device)
        with written_whole(folder / LISTS) as beside, beside.open("wb") as file:
            np.save(file, lists, allow_pickle=False)
        write_json(folder / ABOUT, {"made_of": made_of, "search": search, "items": len(items)})
    return np.asarray(np.lib.format.open_memmap(folder / LISTS, mode="r"))


def copy_lists(source: Path, folder: Path) -> None:
    """Copy a run's lists, where it has some, in place of other ones; `neighbour_lists` makes again what does not fit.

    Example:
        copy_lists(Path("runs/a"), Path("runs/a/auto/one_hot"))
    """
    about = read_json(source / ABOUT)
    if about is not None and (source / LISTS).is_file() and about != read_json(folder / ABOUT):
        (folder / ABOUT).unlink(missing_ok=True)
        for name in (LISTS, ABOUT):
            with written_whole(folder / name) as beside:
                shutil.copyfile(source / name, beside)


def lists_line(folder: Path, lists: np.ndarray) -> str:
    """What the lists hold, as a line."""
    length, most = (lists >= 0).sum(1), lists.shape[1]
    search = (read_json(folder / ABOUT) or {}).get("search")
    return (
        f"train.sampler: neighbours of {len(lists):,} items by {search} search; {int((length < most).sum()):,} items "
        f"have fewer than {most}, {int((length == 0).sum()):,} of them none"
    )


def _make(items: GuideItems, spec: HardBatches, device: torch.device) -> tuple[np.ndarray, str]:
    if spec.search == "usearch" and not has_index():
        raise UserError(
            "train.sampler.search: usearch is not installed; pip install 'xmodal[search]', or set search: exact"
        )
    allowed = Allowed(items.groups, items.labels, spec.max_similarity, spec.skip_nearest)
    if spec.search == "usearch" or (spec.search == "auto" and len(items) >= LARGE and has_index()):
        return approximate_neighbours(items.features(), allowed, spec.neighbours), "usearch's approximate"
    return exact_neighbours(items.features(), allowed, spec.neighbours, device), "exact"


def _digest(items: GuideItems, spec: HardBatches) -> str:
    """A digest of all that decides the lists: items, groups, labels, what made the store, settings; not `share`."""
    store: dict[str, Any] = items.side.processor.store.info  # type: ignore[attr-defined]
    settings = spec.model_dump(mode="json", exclude={"kind", "share"})
    found = hashlib.blake2b(json.dumps([settings, store], sort_keys=True).encode(), digest_size=16)
    for part in (items.of_pair, items.groups, items.first, items.side.items.ids, items.labels):
        found.update(b"-" if part is None else np.ascontiguousarray(part, np.int64).tobytes())
    return found.hexdigest()
