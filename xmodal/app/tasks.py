"""What a model can be asked in the page: which of its sides are ranked against typed text, and in which sentences.

Input: an encoder, the evaluators its run names. Output: a `Task` per side of audio or images; nothing is encoded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xmodal.config.evaluator_spec import EvaluatorSpec
from xmodal.encoding.encoder import Encoder
from xmodal.errors import UserError
from xmodal.evaluation.classification.speech_intent import SpeechIntent
from xmodal.evaluation.classification.zero_shot import ZeroShot
from xmodal.prompts import load_templates

USUAL = {"audio": "speech_intent", "image": "photo"}  # kind -> template set, where the run names none
TITLES = {"audio": "Sound", "image": "Picture"}


@dataclass(frozen=True)
class Task:
    """Items of `side` are ranked against texts of the side `text`, each said in all of `templates`."""

    side: str
    kind: str  # audio or image
    text: str
    templates: tuple[str, ...]
    prompts: str  # what the set of templates is called

    @property
    def title(self) -> str:
        """For the page's tab: Speech, Sound, Picture."""
        return "Speech" if self.side == "speech" else TITLES[self.kind]


def tasks_of(encoder: Encoder, specs: Mapping[str, EvaluatorSpec], prompts: str | None = None) -> list[Task]:
    """A task for each side of audio or images, against the first side of text; none without text.

    The templates are those of `xmodal speech-intent` for a run with spoken intents; else those that the run's own test
    of this side uses; else `speech_intent` for audio and `photo` for images.

    Args:
        encoder: of the run.
        specs: name -> evaluator that the run's config names.
        prompts: a template set or file in place of all that.

    Raises:
        UserError: no such template set or file.

    Example:
        [task.title for task in tasks_of(encoder, {})]  # ["Speech"]
    """
    kinds = encoder.kinds
    texts = [side for side, kind in kinds.items() if kind == "text"]
    found = []
    for side, kind in kinds.items():
        if kind in USUAL and texts:
            name = prompts or _prompts(side, kind, list(specs.values()))
            found.append(Task(side, kind, texts[0], tuple(load_templates(name)), name))
    return found


def counterpart(task: Task, others: Sequence[Task]) -> Task | None:
    """The task of another model that is asked the same: of the side of this name, else of a side of this kind.

    Example:
        counterpart(task, tasks_of(load("open_clip:ViT-B-32"), {}))
    """
    alike = [other for other in others if other.kind == task.kind]
    return next((other for other in alike if other.side == task.side), next(iter(alike), None))


def require_some(tasks: Sequence[Task], encoder: Encoder, searches: bool) -> None:
    """Raise `UserError` where a page would be empty: nothing to rank, and nothing to search."""
    if not tasks and not searches:
        sides = ", ".join(f"{side} ({kind})" for side, kind in encoder.kinds.items())
        raise UserError(
            f"{encoder.name}: encodes {sides}; ranking needs a side of text and one of audio or images. To search a "
            "folder give --search FILE, made by xmodal embed"
        )


def _prompts(side: str, kind: str, specs: Sequence[EvaluatorSpec]) -> str:
    """The template set of the run's own tests of this side; a file that is gone is none."""
    spoken = [spec for spec in specs if isinstance(spec, SpeechIntent.Spec) and spec.speech == side]
    shown = [spec for spec in specs if isinstance(spec, ZeroShot.Spec) and spec.items == side]
    if spoken:
        return USUAL["audio"]
    named = [spec.prompts for spec in shown if not Path(spec.prompts).suffix or Path(spec.prompts).is_file()]
    return named[0] if named else USUAL[kind]
