"""Which of the typed phrases an item is nearest to, and what a reader must know of the answer.

Input: the file of one recording or picture, phrases one a line. Output: `Ranking`; mistakes are `UserError`s that name
the file as its owner calls it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xmodal.app.recordings import read_recording, without_folder
from xmodal.app.tasks import Task
from xmodal.data.reading import rate_of
from xmodal.encoding.encoder import Encoder, Item
from xmodal.errors import UserError
from xmodal.evaluation.classification.typed_intents import rank_intents
from xmodal.files import split_lines

MOST_PHRASES = 500
PLAIN = ("{c}",)  # a sentence is taken as it is typed


@dataclass(frozen=True)
class Ranking:
    """Phrases with their cosines, best first; and lines to be read beside them."""

    scores: tuple[tuple[str, float], ...]
    notes: tuple[str, ...] = ()

    @property
    def lead(self) -> float | None:
        """How far the second phrase is behind; None where there is one phrase."""
        return self.scores[0][1] - self.scores[1][1] if len(self.scores) > 1 else None


def phrases_of(typed: str) -> list[str]:
    """The lines of a text field, each once, without blank ones.

    Raises:
        UserError: none, or over 500.

    Example:
        phrases_of("lights on\\n\\nplay music\\n")  # ["lights on", "play music"]
    """
    found = list(dict.fromkeys(line.strip() for line in split_lines(typed) if line.strip()))
    if not found:
        raise UserError("Nothing to choose from: type some lines, one for each")
    if len(found) > MOST_PHRASES:
        raise UserError(f"{len(found)} lines, more than the {MOST_PHRASES} this page ranks: take some out")
    return found


def rank(encoder: Encoder, task: Task, item: Path, phrases: Sequence[str], whole_sentences: bool = False) -> Ranking:
    """Rank phrases for a recording or a picture, as `xmodal speech-intent --audio` does; silence around speech is cut.

    Args:
        encoder: the model.
        task: its side, and the templates.
        item: a file.
        phrases: to choose from.
        whole_sentences: take them as they are, without templates.

    Raises:
        UserError: a file that is no recording or picture, or over two minutes of sound; phrases that are no text.

    Example:
        rank(encoder, task, Path("clip.wav"), ["lights on", "play music"]).scores[0]  # ("lights on", 0.61)
    """
    notes: list[str] = []
    asked: Item = item
    rate = None
    if task.kind == "audio":
        recording = read_recording(item, rate_of(encoder.processors[task.side]), task.side == "speech")
        asked, rate, notes = recording.samples, recording.rate, [*recording.notes]
    before = encoder.cut
    templates = PLAIN if whole_sentences else task.templates
    try:
        [scores] = rank_intents(encoder, [asked], phrases, templates, rate, task.side, task.text)
    except UserError as error:
        raise UserError(without_folder(str(error), item).removeprefix(f"{task.side}: ")) from None
    if encoder.cut.get(task.side, 0) > before.get(task.side, 0):
        notes.append("It is longer than the model reads: only its beginning counts.")
    if encoder.cut.get(task.text, 0) > before.get(task.text, 0):
        notes.append("Some phrases are longer than the model reads: their ends do not count.")
    return Ranking(tuple(scores), tuple(notes))
