"""The demo's data: spoken home commands from a grammar of the project's own, `demo_grammar.yaml` beside this file.

Input: a folder and a seed. Output: three manifests (JSONL) with their WAV files, example texts, readable intent names.

What is held out, and what is not, plainly:
- Six intents are held out whole. None of their templates or sentences is ever voiced for training; their labels do
  not occur there. Their *words* do: commands of other intents and the unlabelled sentences of `talk` speak of colours,
  doors, locks, timers, songs, languages and deliveries in other contexts, on purpose, because a speech tower trained
  from scratch cannot recognise a word it never heard.
- Every fifth template of every other intent, from the fourth on, is never voiced for training, with any filling. `talk`
  holds the words that would occur only there: every word of the tests is heard in at least 8 training sentences.
- Readable names and templates were revised by how well the *text* tower tells the intents apart (no speech result was
  looked at), so that the task is neither trivial nor impossible: opposites, and asking, setting and cancelling, stay.
- The 3,000 most frequent words of the guide's vocabulary are voiced alone too, without labels: among them words of the
  tests.
- Two voices speak the tests and nothing else. All speech is synthetic (espeak-ng): nothing here measures human speech.
- Settings are chosen on a folder of another making (`Making(dev=True)`): every fifth template from the second on is
  held out there and voiced by two of the 60 voices, which train on nothing there (`dev.jsonl`). No sentence of the
  tests is in it; the single words are. Five words of dev are in no training sentence there.
- `examples.jsonl` is text only: the sentences behind "mean of example sentences" class vectors. For a trained intent
  they are training sentences; for a held-out intent they come from templates that the tests do not use.
"""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from xmodal.files import write_json, write_json_lines
from xmodal.synthesis.expansion import expand
from xmodal.synthesis.manner import DEV_VOICES, HELD_OUT_VOICES, TRAINING_VOICES
from xmodal.synthesis.speech_synthesis import synthesize
from xmodal.synthesis.vocabulary import MINILM, words_of

_GRAMMAR = Path(__file__).with_name("demo_grammar.yaml")
_VERSION = 4  # of what make_demo writes: another number makes old folders be written again
_WORDS = range(3, 10)  # of a sentence, before its frame
FILLINGS = 10  # sentences of a training template, at most
_UNSEEN, _UNSEEN_HELD_OUT, _TALK = 4, 8, 20  # the same of tests, and of what asks for nothing
_FIRST_UNSEEN = 3  # templates 3, 8, 13, ... of an intent (counted from 0) are held out
_FIRST_DEV = 1  # and 1, 6, 11, ... of a trained intent where settings are chosen
WORDS = 3000  # single words of the guide's vocabulary among the training texts
_EXAMPLES = 6  # sentences of one template behind a class mean
_FRAMED = 1 / 6  # share of sentences in a polite frame


@dataclass(frozen=True)
class Sentence:
    """One text. `part`: "train", "test_templates", "test_intents", "dev", or "examples" (text only, never spoken)."""

    id: str
    text: str
    bare: str  # without its polite frame: what makes it distinct
    label: str | None  # the intent; None for a sentence that asks for nothing
    domain: str | None
    template: str  # id of the template: INTENT/3, talk/12
    part: str

    def row(self) -> dict[str, object]:
        """Its manifest row, before it is voiced."""
        return {k: getattr(self, k) for k in ("id", "text", "label", "domain", "template")}


@cache
def grammar() -> dict[str, Any]:
    """The grammar as read: `slots`, `frames`, `intents` (domain, name, held_out, templates), `talk`."""
    return yaml.safe_load(_GRAMMAR.read_text(encoding="utf-8"))


def sentences(seed: int = 0, fillings: int = FILLINGS) -> list[Sentence]:
    """All texts of the demo, at most `fillings` of a training template. No text, framed or bare, occurs twice; a text
    that two templates give goes to the tests, else to the first.
    """
    rules = grammar()
    jobs = []  # (part, intent or None, rules of the intent, template id, template, limit)
    for intent, rule in rules["intents"].items():
        held_out = rule.get("held_out", False)
        for number, template in enumerate(rule["templates"]):
            if number % 5 == _FIRST_UNSEEN:
                part, limit = ("test_intents", _UNSEEN_HELD_OUT) if held_out else ("test_templates", _UNSEEN)
            else:
                part, limit = ("examples" if held_out else "train"), fillings
            jobs.append((part, intent, rule, f"{intent}/{number}", template, limit))
    jobs += [("train", None, {}, f"talk/{n}", template, _TALK) for n, template in enumerate(rules["talk"])]
    # Tests first, then what is only read: what training may say is what is left over.
    jobs.sort(key=lambda job: ("test_intents", "test_templates", "examples", "train").index(job[0]))
    out: list[Sentence] = []
    taken: set[str] = set()
    for part, label, rule, name, template, limit in jobs:
        draw = random.Random(f"{seed}/{name}/frames")
        for number, bare in enumerate(expand(template, rules["slots"], limit, f"{seed}/{name}", _WORDS)):
            text = draw.choice(rules["frames"]).replace("{s}", bare) if draw.random() < _FRAMED else bare
            if bare in taken or text in taken:
                continue
            taken |= {bare, text}
            item_id = f"{name.replace('/', '-')}-{number}"
            out.append(Sentence(item_id, text, bare, label, rule.get("domain"), name, part))
    return out


def talk(each: int, seed: int = 0) -> list[list[str]]:
    """Sentences that ask for nothing, at most `each` of every template: what "none of these" can be tried on."""
    rules = grammar()
    return [
        expand(template, rules["slots"], each, f"{seed}/talk/{number}", _WORDS)
        for number, template in enumerate(rules["talk"])
    ]


def commands(seed: int = 0) -> list[Sentence]:
    """The training sentences that ask for something: none of `talk`, nothing of the tests."""
    return [s for s in sentences(seed) if s.part == "train" and s.label is not None]


def intent_names() -> dict[str, str]:
    """Readable name of every intent, the six held-out ones included: what prompts are made of."""
    return {intent: rule["name"] for intent, rule in grammar()["intents"].items()}


def held_out_intents() -> list[str]:
    """The intents that training never sees."""
    return [intent for intent, rule in grammar()["intents"].items() if rule.get("held_out", False)]


def word_rows(count: int) -> list[dict[str, object]]:
    """The most frequent words of the guide's vocabulary, to be voiced: many are in no sentence, or never alone.

    The grammar alone has 1,000 words, all of them in sentences.
    """
    blank = {"label": None, "domain": None, "template": "words"}
    return [{"id": f"word-{word}", "text": word, **blank} for word in (words_of(MINILM, count) if count else ())]


@dataclass(frozen=True)
class Making:
    """What to make: a training sentence is voiced `takes` times, by voices drawn from 60, each word too."""

    seed: int = 0
    takes: int = 1
    words: int = WORDS
    fillings: int = FILLINGS  # sentences of a training template, at most
    dev: bool = False  # a dev split in place of the tests: what settings are chosen on

    def made(self) -> dict[str, object]:
        """What `demo.json` holds: a folder with the same is complete and up to date."""
        digest = hashlib.blake2b(_GRAMMAR.read_bytes(), digest_size=8).hexdigest()
        asked = asdict(self)
        if not self.dev:
            del asked["dev"]  # folders that were made before there was a dev split say nothing of it
        return {"version": _VERSION, "grammar": digest, **asked}

    def voices(self) -> dict[str, tuple[str, ...]]:
        """The parts that are voiced, and who speaks them: a manifest each."""
        if self.dev:
            return {"train": tuple(v for v in TRAINING_VOICES if v not in DEV_VOICES), "dev": DEV_VOICES}
        return {"train": TRAINING_VOICES, "test_templates": HELD_OUT_VOICES, "test_intents": HELD_OUT_VOICES}


def make_demo(folder: Path, making: Making | None = None, processes: int | None = None) -> None:
    """Write the demo's data into `folder`; a complete one of the same making and grammar is left alone.

    `train.jsonl` (60 voices), `test_templates.jsonl` (held-out templates of trained intents), `test_intents.jsonl` (the
    six held-out intents), both in two held-out voices, every sentence in each; columns id, speech, text, label (null
    where a sentence asks for nothing), domain, template, voice, rate, pitch, range. `examples.jsonl` (text, label,
    template) and `names.json` (label -> readable name). `demo.json`, written last, says that all is there. With
    `making.dev` there is `dev.jsonl` in place of the two tests: a fifth of the trained templates, in two other voices.

    Raises UserError when espeakng-loader, or the package of the guide, is missing.

    Example:
        make_demo(Path("data/demo"))  # 12,000 utterances
    """
    making = making or Making()
    finished = folder / "demo.json"
    if finished.is_file() and json.loads(finished.read_text()) == making.made():
        return
    everything = sentences(making.seed, making.fillings)
    write_demo(for_dev(everything) if making.dev else everything, folder, making, processes)


def write_demo(everything: Sequence[Sentence], folder: Path, making: Making, processes: int | None) -> None:
    """Voice and write the given sentences, and the words; what was made goes into `demo.json`, last."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "demo.json").unlink(missing_ok=True)
    for part in {*Making().voices(), *Making(dev=True).voices()} - {*making.voices()}:
        (folder / f"{part}.jsonl").unlink(missing_ok=True)  # of another making: its sentences may be trained on now
    for part, voices in making.voices().items():
        synthesize(
            [s.row() for s in everything if s.part == part] + (word_rows(making.words) if part == "train" else []),
            folder / f"{part}.jsonl",
            voices=voices,
            per_text=making.takes if part == "train" else len(voices),
            seed=making.seed,
            processes=processes,
        )
    write_json_lines(folder / "examples.jsonl", example_rows(everything))
    for name, content in (("names.json", intent_names()), ("demo.json", making.made())):
        write_json(folder / name, content)


def for_dev(everything: Sequence[Sentence]) -> list[Sentence]:
    """The sentences of a folder on which settings are chosen: its dev part is cut from training, no test is in it."""
    out = [s for s in everything if s.part in ("train", "examples")]
    return [replace(s, part="dev") if s.label is not None and _is_dev(s) else s for s in out]


def _is_dev(sentence: Sentence) -> bool:
    return sentence.part == "train" and int(sentence.template.rpartition("/")[2]) % 5 == _FIRST_DEV


def example_rows(everything: Sequence[Sentence]) -> list[dict[str, object]]:
    """The texts behind class means: the first six of every seen template of every intent."""
    out: list[dict[str, object]] = []
    count: dict[str, int] = {}
    for s in everything:
        if s.label is None or s.part not in ("train", "examples"):
            continue
        count[s.template] = count.get(s.template, 0) + 1
        if count[s.template] <= _EXAMPLES:
            out.append({"id": f"example-{len(out)}", "text": s.text, "label": s.label, "template": s.template})
    return out
