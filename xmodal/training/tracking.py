"""Metrics of a run: `metrics.jsonl`, TensorBoard, and whatever other tracker Accelerate knows."""

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, TensorBoardTracker

from xmodal.config.schema import RunConfig
from xmodal.config.train_spec import Tracker
from xmodal.errors import UserError


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


OWN = ("jsonl", "tensorboard")  # what is asked for by default, and goes without saying where it is not installed
RUN_NAME = {"wandb": "name", "trackio": "name", "swanlab": "experiment_name", "mlflow": "run_name"}  # the option


def require_trackers(names: Sequence[str]) -> None:
    """Before anything is read: the libraries of the trackers that were asked for are there.

    Raises:
        UserError: one is not installed.
    """
    for name in names:
        if name not in OWN and importlib.util.find_spec(name) is None:
            raise UserError(f"train.trackers: {name} is not installed; pip install {name}, or take it out")


def start_trackers(accelerator: Accelerator, config: RunConfig) -> None:
    """Start the trackers the config names; TensorBoard is left out, with a word, where it is not installed.

    Those of other makers are Accelerate's. Each gets the run's config but for `train.tracker_options`, and starts with
    its own of these; a project is called xmodal and a run as its folder, unless they say otherwise.

    Raises:
        UserError: one that cannot start, for want of a login or of a server.
    """
    trackers: list[GeneralTracker] = []
    for name in config.train.trackers if accelerator.is_main_process else ():
        if name == "jsonl":
            trackers.append(JsonlTracker(config.output / "metrics.jsonl"))
        elif name != "tensorboard":
            trackers.append(_other(name, config))
        elif importlib.util.find_spec("tensorboard"):
            trackers.append(TensorBoardTracker("tensorboard", logging_dir=config.output))
        else:
            accelerator.print("tensorboard is not installed (pip install 'xmodal[track]'); metrics.jsonl has all")
    accelerator.log_with = trackers
    try:
        accelerator.init_trackers("xmodal")
        for tracker in trackers:
            if tracker.name not in OWN:
                tracker.store_init_configuration(settings_of(config))
    except Exception as error:
        others = ", ".join(tracker.name for tracker in trackers if tracker.name not in OWN)
        if not others:
            raise
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"train.trackers: {others}: cannot start ({reason}); log in, correct train.tracker_options, or take it out"
        ) from error


def _other(name: Tracker, config: RunConfig) -> GeneralTracker:
    """A tracker of another maker, not started."""
    kind = LOGGER_TYPE_TO_CLASS[name]
    options = {RUN_NAME[name]: config.output.name} if name in RUN_NAME else {}
    options |= config.train.tracker_options.get(name, {})
    project = options.pop("project", "xmodal")
    if kind.requires_logging_directory:
        options.setdefault("logging_dir", str(config.output))
    return kind(project, **options)


def settings_of(config: RunConfig) -> dict[str, Any]:
    """The run's config by dotted key, as values that every tracker takes; no tracker is shown another one's login."""
    shown = config.model_dump(mode="json", exclude={"train": {"tracker_options"}})
    flat = pd.json_normalize(shown).iloc[0].to_dict()
    return {str(key): value if isinstance(value, str | int | float) else str(value) for key, value in flat.items()}
