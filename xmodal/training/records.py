"""What training writes down besides weights and metrics: towers, labels, what was left out, what was changed."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from xmodal.aligner.aligner import Aligner
from xmodal.config.schema import RunConfig
from xmodal.data.dataset import PairDataset
from xmodal.data.stream import LEFT_OUT, StreamedPairs
from xmodal.data.unusable import Bad
from xmodal.encoding.loading import LABELS
from xmodal.files import told_if_full, write_json
from xmodal.processor import Processor
from xmodal.runs.checkpoint import State
from xmodal.runs.metrics_file import read_lines
from xmodal.towers import save_tower


def write_towers(config: RunConfig, aligner: Aligner, processors: Mapping[str, Processor]) -> None:
    """RUN/towers/<side>: what rebuilds each tower offline; one that is there is left alone."""
    folder = config.output
    for side, spec in config.towers.items():
        target = folder / "towers" / side
        if target.exists():
            continue
        partial = folder / "towers.tmp" / side  # the folder's name stands for the side
        partial.mkdir(parents=True, exist_ok=True)
        with told_if_full(partial):
            save_tower(spec, aligner.tower(side), processors[side], partial)
        target.parent.mkdir(exist_ok=True)
        partial.replace(target)
    shutil.rmtree(folder / "towers.tmp", ignore_errors=True)


def write_labels(folder: Path, labels: Sequence[str]) -> None:
    """RUN/labels.json, where the pairs have labels."""
    if labels and not (folder / LABELS).is_file():
        write_json(folder / LABELS, list(labels))


def write_changes(folder: Path, step: int, changed: Sequence[str]) -> None:
    """Add to RUN/changes.jsonl what was changed on resuming at `step`."""
    if changed:
        with (folder / "changes.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "changed": list(changed)}, ensure_ascii=False) + "\n")


def read_changes(folder: Path) -> dict[str, Any]:
    """What was changed on resuming, for a report; nothing where nothing was."""
    rows = read_lines(folder / "changes.jsonl")
    return {"changed": rows} if rows else {}


class Skipped:
    """RUN/skipped.jsonl: the tally of the start, where anything was left out or cut short; every item left out, once.

    Args:
        folder: of the run.
        dataset: what is trained on; knows what was left out at the start, and how much is too much.
        main: does this process write?
    """

    def __init__(self, folder: Path, dataset: PairDataset | StreamedPairs, main: bool) -> None:
        self.path, self.dataset, self.main = folder / "skipped.jsonl", dataset, main
        self.later: dict[str, str] = {}  # items that failed after the scan at the start, with the reason

    @property
    def count(self) -> int:
        """Items left out so far."""
        return len(self.dataset.skipped) + len(self.later)

    def begin(self) -> None:
        """List what was left out at the start; a resumed run has listed it, and others, before.

        Every process reads the list, for all must know when too many are unusable; the main one writes.
        """
        rows = read_lines(self.path)
        listed = {str(row["id"]): str(row.get("reason")) for row in rows if "id" in row}
        tally = self.dataset.tally
        if self.main and not rows and (tally.left_out or tally.cut):
            self._append({"tally": tally.as_dict()})
        if self.main:
            self._write([(name, reason) for name, reason in self.dataset.skipped if name not in listed])
        at_start = dict(self.dataset.skipped)
        self.later = {name: reason for name, reason in listed.items() if name not in at_start}
        self._count(list(self.later.items()))

    def say(self, print_line: Callable[[str], None]) -> None:
        """Tell at the start what was seen, used, left out and cut short."""
        if isinstance(self.dataset, StreamedPairs):
            print_line(f"{self.dataset.tally.source}: streamed; what is left out is counted as it is met")
        for line in self.dataset.tally.lines()[1 if isinstance(self.dataset, StreamedPairs) else 0 :]:
            print_line(line)

    def facts(self, read: int) -> dict[str, Any]:
        """The same at the end, for reports; `read` items were in the batches, which is what a stream can say."""
        tally = self.dataset.tally
        if isinstance(self.dataset, StreamedPairs):
            tally.used = read - sum(not reason.startswith(LEFT_OUT) for reason in self.later.values())
            tally.notes.append("streamed: items are counted over all epochs, one that is left out once")
        return tally.as_dict()

    def _count(self, lost: Sequence[Bad]) -> None:
        """Tell the tally of items that were to be used."""
        if isinstance(self.dataset, PairDataset):
            self.dataset.tally.lose(lost)
        else:
            for name, reason in lost:
                self.dataset.tally.leave_out(name, reason)

    def new(self, skipped: Sequence[Bad]) -> list[Bad]:
        """Those that were not known to fail."""
        return [(name, reason) for name, reason in skipped if name not in self.later]

    def add(self, skipped: Sequence[Bad], read: int) -> None:
        """Note items that failed, of all processes; `read` items were read so far.

        Raises:
            UserError: too many cannot be used.
        """
        fresh = self.new(list(dict(skipped).items()))
        self.later.update(fresh)
        self._count(fresh)
        if self.main:
            self._write(fresh)
        self.dataset.require_usable(list(self.later.items()), read)

    def _write(self, skipped: Sequence[Bad]) -> None:
        self._append(*({"id": name, "reason": reason} for name, reason in skipped))

    def _append(self, *rows: dict[str, Any]) -> None:
        if rows:
            with self.path.open("a", encoding="utf-8") as file:
                file.write("".join(json.dumps(row) + "\n" for row in rows))


def means_of(recent: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
    """The means of what the last steps gave; a name that some did not give has the mean of the others.

    Steps that gave nothing had no pair in their batch: `empty_batches` counts them, where there are any.
    """
    names = list(dict.fromkeys(name for parts in recent for name in parts))
    given = {name: [parts[name].float() for parts in recent if name in parts] for name in names}
    values = {name: float(torch.stack(found).mean()) for name, found in given.items()}
    if not all(recent):
        values["empty_batches"] = float(sum(not parts for parts in recent))
    return values


def facts_of(config: RunConfig, accelerator: Accelerator, state: State, skipped: Skipped, pairs: int) -> dict[str, Any]:
    """What happened in training, for the provenance of every later report; `pairs` were in the batches."""
    return {
        "finished": True,
        "weights_from_step": state.best_step if state.best_step is not None else state.step,
        "processes": accelerator.num_processes,
        "device": str(accelerator.device),
        "threads": state.threads,
        "training_seconds": round(state.seconds, 3),
        "peak_memory_mb": round(state.peak_memory_mb, 1),
        "skipped_items": skipped.count,
        "data": skipped.facts(pairs),
        **read_changes(config.output),
    }
