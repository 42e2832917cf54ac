"""What training writes down besides weights and metrics: towers, labels, what was left out, what was changed."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from xmodal.aligner.aligner import Aligner
from xmodal.config.schema import RunConfig
from xmodal.data.dataset import PairDataset
from xmodal.data.stream import StreamedPairs
from xmodal.data.unusable import Bad
from xmodal.encoding.loading import LABELS
from xmodal.files import write_json
from xmodal.processor import Processor
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


class Skipped:
    """RUN/skipped.jsonl: every item left out, once, with the reason.

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
        """List what was left out at the start; a resumed run has listed it, and others, before."""
        listed = {str(row.get("id")): str(row.get("reason")) for row in read_lines(self.path)}
        self._write([(name, reason) for name, reason in self.dataset.skipped if name not in listed])
        at_start = dict(self.dataset.skipped)
        self.later = {name: reason for name, reason in listed.items() if name not in at_start}

    def say(self) -> None:
        """Print at the start what is used and what is not."""

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
        if self.main:
            self._write(fresh)
        self.dataset.require_usable(list(self.later.items()), read)

    def _write(self, skipped: Sequence[Bad]) -> None:
        if not skipped:
            return
        with self.path.open("a", encoding="utf-8") as file:
            for name, reason in skipped:
                file.write(json.dumps({"id": name, "reason": reason}) + "\n")
