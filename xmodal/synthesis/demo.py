"""The demo's data: spoken home commands from a grammar of the project's own, `demo_grammar.yaml` beside this file.

Input: a folder and a seed. Output: three manifests (JSONL) with their WAV files, example texts, readable intent names.

What is held out, and what is not, plainly:
- Six intents are held out whole. None of their templates or sentences is ever voiced for training; their labels do
  not occur there. Their *words* do: commands of other intents and the unlabelled sentences of `talk` speak of colours,
  doors, locks, timers, songs, languages and deliveries in other contexts, on purpose, because a speech tower trained
  from scratch cannot recognise a word it never heard.
- Every fifth template of every other intent, from the fourth on, is never voiced for training, with any filling. `talk`
  holds the words that would occur only there: every word of the tests is heard in at least 15 training sentences.
- Readable names and templates were revised by how well the *text* tower tells the intents apart (no speech result was
  looked at), so that the task is neither trivial nor impossible: opposites, and asking, setting and cancelling, stay.
- Two voices speak the tests and nothing else. All speech is synthetic (espeak-ng): nothing here measures human speech.
- `examples.jsonl` is text only: the sentences behind "mean of example sentences" class vectors. For a trained intent
  they are training sentences; for a held-out intent they come from templates that the tests do not use.
"""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from xmodal.files import read_json_lines, write_json, write_json_lines
from xmodal.synthesis.expansion import expand
from xmodal.synthesis.manner import HELD_OUT_VOICES, TRAINING_VOICES
from xmodal.synthesis.speech_synthesis import synthesize

_GRAMMAR = Path(__file__).with_name("demo_grammar.yaml")
_VERSION = 3  # of what make_demo writes: another number makes old folders be written again
_WORDS = range(3, 10)  # of a sentence, before its frame
_SEEN, _UNSEEN, _UNSEEN_HELD_OUT, _TALK = 17, 4, 8, 20  # at most so many sentences of one template
_FIRST_UNSEEN = 3  # templates 3, 8, 13, ... of an intent (counted from 0) are held out
ONCE = "train_once.jsonl"  # the first voicing of each training sentence
_TRAIN_VOICES_EACH = 2  # of the 60 training voices, drawn for each training sentence
_EXAMPLES = 6  # sentences of one template behind a class mean
_FRAMED = 1 / 6  # share of sentences in a polite frame


@dataclass(frozen=True)
class Sentence:
    """One text. `part`: "train", "test_templates", "test_intents", or "examples" (read as text only, never spoken)."""

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


def sentences(seed: int = 0) -> list[Sentence]:
    """All texts of the demo. No text, framed or bare, occurs twice; a text that two templates give goes to the tests,
    else to the first.
    """
    rules = grammar()
    jobs = []  # (part, intent or None, rules of the intent, template id, template, limit)
    for intent, rule in rules["intents"].items():
        held_out = rule.get("held_out", False)
        for number, template in enumerate(rule["templates"]):
            if number % 5 == _FIRST_UNSEEN:
                part, limit = ("test_intents", _UNSEEN_HELD_OUT) if held_out else ("test_templates", _UNSEEN)
            else:
                part, limit = ("examples" if held_out else "train"), _SEEN
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


def made_by(seed: int) -> dict[str, object]:
    """What `demo.json` holds: a folder with the same is complete and up to date."""
    digest = hashlib.blake2b(_GRAMMAR.read_bytes(), digest_size=8).hexdigest()
    return {"version": _VERSION, "seed": seed, "grammar": digest}


def make_demo(folder: Path, seed: int = 0, processes: int | None = None) -> None:
    """Write the demo's data into `folder`; a complete one of the same seed and grammar is left alone.

    `train.jsonl` (60 voices), and of it the first voicing of each sentence, `train_once.jsonl`; `test_templates.jsonl`
    (held-out templates of trained intents), `test_intents.jsonl` (the six held-out intents), both in two held-out
    voices, every sentence in each; columns id, speech, text, label (null where a sentence asks for nothing), domain,
    template, voice, rate, pitch, range. `examples.jsonl` (text, label, template) and `names.json` (label -> readable
    name). `demo.json`, written last, says that all is there.

    Raises UserError when espeakng-loader is missing.

    Example:
        make_demo(Path("data/demo"))  # 25,000 utterances, 2.1 GB
    """
    made = made_by(seed)
    finished = folder / "demo.json"
    if finished.is_file() and json.loads(finished.read_text()) == made:
        return
    write_demo(sentences(seed), folder, made, processes)


def write_demo(everything: Sequence[Sentence], folder: Path, made: dict[str, object], processes: int | None) -> None:
    """Voice and write the given sentences; `made` (with its "seed") goes into `demo.json`, last."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "demo.json").unlink(missing_ok=True)
    for part, voices in (
        ("train", TRAINING_VOICES),
        ("test_templates", HELD_OUT_VOICES),
        ("test_intents", HELD_OUT_VOICES),
    ):
        synthesize(
            [s.row() for s in everything if s.part == part],
            folder / f"{part}.jsonl",
            voices=voices,
            per_text=_TRAIN_VOICES_EACH if part == "train" else len(voices),
            seed=int(str(made["seed"])),
            processes=processes,
        )
    once = [row for _, row in read_json_lines(folder / "train.jsonl") if row["id"].endswith("-0")]
    write_json_lines(folder / ONCE, once)
    write_json_lines(folder / "examples.jsonl", example_rows(everything))
    for name, content in (("names.json", intent_names()), ("demo.json", made)):
        write_json(folder / name, content)


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
