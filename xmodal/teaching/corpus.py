"""What a taught run is trained and tested on, on disk: voiced sentences, manifests, texts behind class vectors.

    DATA/train.jsonl           voiced training sentences; a background without labels, so that words are heard
                               elsewhere: home commands of the demo, frequent words; the user's recordings; human speech
    DATA/new_phrases.jsonl     held-out phrases in held-out voices
    DATA/known_phrases.jsonl   trained sentences in held-out voices
    DATA/recordings.jsonl      the user's test recordings, where there are any
    DATA/open.jsonl            new_phrases, and what is none of the intents (label null), in held-out voices
    DATA/dev.jsonl             held-out phrases and what is none of the intents, in voices of training
    DATA/voiced/               the audio; it goes on where it was interrupted
    RUN/examples.jsonl         the texts behind the intents' vectors: text, label
    RUN/sets.jsonl             those behind the vectors of all label sets, see `set_examples`

All speech but the recordings is synthetic (espeak-ng).
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xmodal.files import write_json_lines
from xmodal.prompts import bare_words
from xmodal.synthesis.demo import commands, talk
from xmodal.synthesis.manner import HELD_OUT_VOICES, TRAINING_VOICES
from xmodal.synthesis.phrases import Phrases
from xmodal.synthesis.speech_synthesis import synthesize
from xmodal.synthesis.vocabulary import MINILM, words_of
from xmodal.teaching.request import Lesson
from xmodal.teaching.sentences import INTENT, Row, intent_examples, set_examples, spread

DEV_VOICES = ("en-us+f2", "en-gb-x-rp+m3")  # of training: heard by the threshold's dev split
VOICED = ("voice", "rate", "pitch", "range")  # columns of what was voiced


@dataclass(frozen=True)
class Corpus:
    """The manifests, by name, and their numbers of rows."""

    folder: Path
    rows: dict[str, int]

    def manifest(self, name: str) -> Path:
        """The path of a part."""
        return self.folder / f"{name}.jsonl"


def write_corpus(lesson: Lesson, processes: int | None = None) -> Corpus:
    """Voice and write everything; what is there already is not voiced again.

    Raises:
        UserError: what `synthesize` raises, such as a phrase that makes no sound.
    """
    run, phrases, held, said = lesson.run, lesson.phrases, lesson.held, lesson.said
    recordings, human, seed, plan = lesson.recordings, lesson.human, lesson.config.seed, lesson.plan
    data = run / "data"
    others = [bare_words(sentence) for group in talk(1, seed) for sentence in group]
    known = {bare_words(row["spoken"]) for row in [*said.train, *said.new_phrases]}
    none = [_other(phrases, f"other/{number}", text) for number, text in enumerate(others) if text not in known]

    def voice(name: str, rows: list[Row], voices: tuple[str, ...], each: int) -> list[Row]:
        return _voice(data, name, rows, voices, each, seed, processes) if rows else []

    of_phrase = Counter(row["phrase"] for row in said.train)
    by_voices: dict[int, list[Row]] = {}
    for row in said.train:
        by_voices.setdefault(plan.voices_of(of_phrase[row["phrase"]]), []).append(row)
    taught = [row for each, part in by_voices.items() for row in voice(f"train_{each}", part, TRAINING_VOICES, each)]
    words = [word for word in words_of(MINILM, plan.background) if word not in known] if plan.background else []
    home = [(s.id, s.text) for s in commands(seed) if bare_words(s.text) not in known]
    alone = [(f"word-{word}", word) for word in words[: plan.background // 2]]
    other = [*spread(home, plan.background - len(alone)), *alone]
    said_elsewhere = [_other(phrases, f"background/{name}", text) for name, text in other]
    background = voice("background", said_elsewhere, TRAINING_VOICES, 1)
    new = voice("new_phrases", said.new_phrases, HELD_OUT_VOICES, 2)
    parts = {
        "train": taught + background + recordings.train + human,
        "new_phrases": new,
        "known_phrases": voice("known_phrases", said.known_phrases, HELD_OUT_VOICES, 1),
        "recordings": recordings.test,
    }
    if new:
        parts["open"] = new + voice("other", none[1::2], HELD_OUT_VOICES, 1)
        parts["dev"] = voice("dev", said.dev, DEV_VOICES, 2) + voice("dev_other", none[::2], DEV_VOICES, 1)
    columns = ["id", "speech", "text", "label", INTENT, "phrase", *phrases.slots, "speaker", *VOICED]
    for name, rows in parts.items():
        if rows:
            write_json_lines(data / f"{name}.jsonl", ({key: row.get(key) for key in columns} for row in rows))
    write_json_lines(run / "examples.jsonl", intent_examples(phrases, held, seed))
    write_json_lines(run / "sets.jsonl", set_examples(phrases, held, seed))
    counts = {name: len(rows) for name, rows in parts.items()} | {"taught": len(taught), "background": len(background)}
    return Corpus(data, counts)


def _voice(
    data: Path, name: str, rows: list[Row], voices: tuple[str, ...], each: int, seed: int, processes: int | None
) -> list[Row]:
    """Rows of the recordings, whose text is that of the sentence, in lower case, and not as it was voiced."""
    made = synthesize(
        rows, data / "voiced" / f"{name}.jsonl", voices=voices, per_text=each, seed=seed, processes=processes,
        text_column="spoken",
    )  # fmt: skip
    return [{**row, "speech": f"voiced/{row['speech']}", "text": str(row["spoken"]).lower()} for row in made]


def _other(phrases: Phrases, name: str, text: str) -> dict[str, Any]:
    """A sentence that is none of the intents."""
    nothing = dict.fromkeys(["label", INTENT, *phrases.slots])
    return {"id": name, "spoken": text, "text": text, "phrase": name, **nothing}
