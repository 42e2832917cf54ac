"""What is to be taught, checked: the phrases, the recordings, the config with its sizes, what a run folder was made of.

Input: what was typed. Output: `Lesson`. Everything that can be wrong is known before anything is voiced; no torch.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xmodal.config.load import dump_config, load_config
from xmodal.config.schema import RunConfig
from xmodal.errors import UserError
from xmodal.files import write_json, write_text
from xmodal.synthesis.expansion import count
from xmodal.synthesis.phrases import Phrases, read_phrases
from xmodal.teaching.held_out import HeldOut, hold_out
from xmodal.teaching.plan import Plan, plan_for
from xmodal.teaching.recordings import (
    Recordings,
    digest_of,
    human_manifest,
    read_human,
    read_recordings,
    require_apart,
    require_readable,
)  # fmt: skip
from xmodal.teaching.sentences import INTENT, Sentences, sentences

VERSION = 2  # of what teaching makes: another number makes a run folder be refused
MADE_OF = "teach.json"  # in the run folder
OPEN = "none_of_these"  # the evaluator that chooses the threshold
OURS = ("output", "data.train", "train.resume")  # keys that teaching sets


@dataclass(frozen=True)
class Typed:
    """What the command line says."""

    phrases: Path
    output: Path
    config: Path
    recordings: Path | None = None
    human: tuple[str, ...] = ()
    minutes: float = 10.0
    share: float = 0.2
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lesson:
    """All that teaching goes by."""

    typed: Typed
    phrases: Phrases
    held: HeldOut
    said: Sentences
    plan: Plan
    config: RunConfig
    recordings: Recordings
    human: list[dict[str, Any]] = field(default_factory=list)

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.config.output

    def made_of(self) -> dict[str, Any]:
        """What the data in the run folder are made of: a folder of the same goes on, any other is refused."""
        typed = self.typed
        return {
            "version": VERSION,
            "phrases": digest_of(typed.phrases),
            "recordings": digest_of(typed.recordings) if typed.recordings else None,
            "human": [digest_of(human_manifest(each)) for each in typed.human],
            "held_out": typed.share,
            "minutes": typed.minutes,
            "recordings_of_a_phrase": self.plan.recordings,
            "background": self.plan.background,
            "seed": self.config.seed,
        }


def prepare(typed: Typed) -> Lesson:
    """Read and check everything.

    Raises:
        UserError: a mistake in the phrases, the recordings, the config or the overrides; a folder of something else; a
            recording that cannot be read.
    """
    _require_free(typed.overrides)
    phrases = read_phrases(typed.phrases)
    recordings = read_recordings(typed.recordings, phrases) if typed.recordings else Recordings([], [])
    human = [row for each in typed.human for row in read_human(human_manifest(each), phrases)]
    require_apart(human, recordings.test, str(typed.recordings))
    asked = load_config(typed.config, [*_fixed(typed), *typed.overrides])
    held = hold_out(phrases, typed.share, asked.seed)
    plan = _plan(typed, phrases, held, asked, len(human) + len(recordings.train))
    stores = [key for key, _, tower in asked.all_towers() if tower.is_stored]
    paths = [f"{key}.path={_quoted(typed.output / 'data' / _folder(key))}" for key in stores]
    said = sentences(phrases, held, plan.per_phrase, asked.seed)
    tests = f"evaluators={json.dumps(_tests(typed.output, phrases, said, recordings))}"
    ours = [f"train.steps={plan.steps}", *paths, tests]
    config = load_config(typed.config, [*ours, *typed.overrides, *_fixed(typed)])
    lesson = Lesson(typed, phrases, held, said, plan.with_steps(config.train.steps), config, recordings, human)
    require_same(lesson)
    require_readable(recordings, typed.recordings)
    return lesson


def require_same(lesson: Lesson) -> None:
    """Raise `UserError` where the run folder holds something else than a beginning, or the end, of this lesson."""
    folder, wanted = lesson.run, lesson.made_of()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; choose another folder with --output")
    there = [path for path in folder.iterdir() if path.suffix != ".tmp"] if folder.exists() else []
    if not there:
        return
    if not (folder / MADE_OF).is_file():
        raise UserError(f"{folder}: exists, and was not made by xmodal teach; choose another folder with --output")
    try:
        found = json.loads((folder / MADE_OF).read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{folder / MADE_OF}: damaged; remove {folder}, or choose another --output") from None
    changed = [key for key in wanted if not isinstance(found, dict) or found.get(key) != wanted[key]]
    if changed:
        raise UserError(
            f"{folder}: was taught from other {', '.join(changed)}; choose another folder with --output, or remove it"
        )


def begin(lesson: Lesson) -> None:
    """Mark the run folder as this lesson's, and keep its phrases there."""
    folder = lesson.run
    write_json(folder / MADE_OF, lesson.made_of())
    write_text(folder / "phrases.yaml", lesson.phrases.path.read_text(encoding="utf-8-sig"))
    if not (folder / "config.yaml").is_file():
        write_text(folder / "config.yaml", dump_config(lesson.config))


def _require_free(overrides: Sequence[str]) -> None:
    for override in overrides:
        key = override.partition("=")[0]
        if key in OURS:
            way_out = "say where the run goes with --output" if key == "output" else "it is what teaching makes"
            raise UserError(f"command line: {key}: is set by xmodal teach; {way_out}")


def _fixed(typed: Typed) -> list[str]:
    """What the command line may not say otherwise."""
    train = typed.output / "data" / "train.jsonl"
    return [f"output={_quoted(typed.output)}", f"data.train={_quoted(train)}", "train.resume=true"]


def _plan(typed: Typed, phrases: Phrases, held: HeldOut, asked: RunConfig, further: int) -> Plan:
    """Sizes for the minutes asked for; `further` recordings are there already."""
    views = max((tower.views_stored for tower in asked.towers.values() if tower.is_stored), default=1)
    fillings = [count(phrase.template, phrases.slots) for phrase in held.trained]
    return plan_for(typed.minutes, fillings, views, further)


def _tests(run: Path, phrases: Phrases, said: Sentences, recordings: Recordings) -> dict[str, Any]:
    """The evaluators: held-out phrases, known phrases in unknown voices, the user's recordings, none of these."""
    data = run / "data"

    def sets(name: str, rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """Intents and slots of a test, of which some value occurs in it."""
        known = {INTENT: phrases.intents, **{slot: values for slot, values in phrases.slots.items() if values[1:]}}
        tested = {key: list(values) for key, values in known.items() if any(row.get(key) is not None for row in rows)}
        files = {"test": str(data / f"{name}.jsonl"), "examples": str(run / "sets.jsonl")}
        return {"kind": "label_sets", **files, "labels": tested, "trained": True, **more}

    tts = {"cluster": "phrase", "synthetic": True}
    tests: dict[str, Any] = {"known_phrases": sets("known_phrases", said.known_phrases, **tts)}
    if said.new_phrases:
        files = {"test": data / "open.jsonl", "dev": data / "dev.jsonl", "examples": run / "examples.jsonl"}
        named = {key: str(path) for key, path in (files | {"names": run / "names.json"}).items()}
        tests = {"new_phrases": sets("new_phrases", said.new_phrases, **tts), **tests}
        tests[OPEN] = {"kind": "speech_intent", **named, "trained": True, **tts}
    if recordings.test:
        tests["recordings"] = sets("recordings", recordings.test)
    return tests


def _folder(key: str) -> str:
    """The folder of the store of a tower or of a teacher: `text_store`, `text_teacher_store`."""
    section, side = key.split(".")
    return f"{side}_store" if section == "towers" else f"{side}_teacher_store"


def _quoted(path: Path) -> str:
    """A path as a value of the command line: YAML takes JSON's strings."""
    return json.dumps(str(path))
