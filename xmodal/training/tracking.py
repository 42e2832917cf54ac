"""Metrics of a run: `metrics.jsonl` and TensorBoard, both as trackers of Accelerate."""

import importlib.util
import json
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import GeneralTracker, TensorBoardTracker

from xmodal.config.schema import RunConfig


class JsonlTracker(GeneralTracker):
    """One JSON object per line: the step, and what was logged at it."""

    name = "jsonl"
    requires_logging_directory = True
    main_process_only = True

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @property
    def tracker(self) -> Path:
        """The file."""
        return self.path

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Nothing: the run folder has config.yaml."""

    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Append one line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")


def start_trackers(accelerator: Accelerator, config: RunConfig) -> None:
    """Start the trackers the config names; TensorBoard is left out, with a word, where it is not installed."""
    trackers: list[GeneralTracker] = []
    if accelerator.is_main_process:
        if "jsonl" in config.train.trackers:
            trackers.append(JsonlTracker(config.output / "metrics.jsonl"))
        if "tensorboard" in config.train.trackers:
            if importlib.util.find_spec("tensorboard"):
                trackers.append(TensorBoardTracker("tensorboard", logging_dir=config.output))
            else:
                accelerator.print("tensorboard is not installed (pip install 'xmodal[track]'); metrics.jsonl has all")
    accelerator.log_with = trackers
    accelerator.init_trackers("xmodal")
