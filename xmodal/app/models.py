"""A model as the page holds it: encoder, what it can be asked, what must be said of it. Loaded once, at the start."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xmodal.app.cautions import cautions_of
from xmodal.app.tasks import Task, tasks_of
from xmodal.encoding.encoder import Encoder
from xmodal.encoding.loading import DUAL_ENCODERS, load
from xmodal.evaluation.runs.saved_run import evaluator_specs
from xmodal.hub.names import HUB


@dataclass(frozen=True)
class Model:
    """One of the page's one or two models."""

    name: str  # as the page calls it
    encoder: Encoder
    tasks: tuple[Task, ...]
    cautions: tuple[str, ...] = ()


def load_models(names: Sequence[str], prompts: str | None = None, trust_remote_code: bool = False) -> list[Model]:
    """Runs, or dual encoders by name.

    Args:
        names: run folders, `hf-hub:OWNER/NAME`, `open_clip:...`, `transformers:...`.
        prompts: a template set or file in place of the models' own.
        trust_remote_code: run code that came with a run.

    Raises:
        UserError: as `xmodal.load`; no such template set.

    Example:
        load_models(["runs/mine", "runs/mine_cl"])[1].name  # "mine_cl"
    """
    found = []
    for name, title in zip(names, titles(names), strict=True):
        encoder = load(name, trust_remote_code=trust_remote_code)
        specs = {} if encoder.folder is None else evaluator_specs(encoder.folder, trust_remote_code)
        found.append(Model(title, encoder, tuple(tasks_of(encoder, specs, prompts)), tuple(_cautions(name, encoder))))
    return found


def _cautions(name: str, encoder: Encoder) -> list[str]:
    if name.startswith(HUB):
        return [f"How good it is, and on what it was measured, stands on its page on the hub ({name})."]
    return [] if encoder.folder is None else cautions_of(encoder.folder)


def titles(names: Sequence[str]) -> list[str]:
    """Short names of models: the last part of a run's path, all of it where two are called alike.

    Example:
        titles(["runs/a", "runs/b"])  # ["a", "b"]
    """
    short = [name if name.startswith(DUAL_ENCODERS) else Path(name).resolve().name for name in names]
    return short if len(set(short)) == len(short) else list(names)
