"""A file of intents with example phrases, read and checked: what `xmodal teach` teaches.

    slots:
      size: [small, medium, large]
    intents:
      order_tea:
        name: order a tea             # readable; default: the intent, underscores as spaces
        phrases:
          - a $size tea please
          - (can|could) I get a $size tea
      cancel:
        - cancel my order
        - never mind

`$slot` stands for each of a slot's values, `(a|b|)` for one of its alternatives. Input: such a YAML file. Output:
`Phrases`, or a line for each mistake, with the number of the line in the file. No torch.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError, model_validator

from xmodal.config.error_lines import error_lines
from xmodal.config.spec import Spec
from xmodal.config.yaml_text import read_mapping
from xmodal.errors import UserError
from xmodal.prompts import bare_words, is_unicode
from xmodal.synthesis.expansion import Filling, draw
from xmodal.synthesis.overlaps import overlaps

LARGEST = 5_000_000  # bytes of a file
MOST = 20_000  # phrases of a file
# columns of manifests, and what all label sets together are called
TAKEN = frozenset(
    ["all", "id", "intent", "label", "of", "phrase", "pitch", "range", "rate", "slot", "speaker", "speech", "split",
     "spoken", "text", "voice"]
)  # fmt: skip


class IntentSpec(Spec):
    """One intent as the file gives it: a list of phrases, or a mapping with a name."""

    name: str | None = None
    phrases: Annotated[tuple[str, ...], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, given: Any) -> Any:
        if isinstance(given, list):
            return {"phrases": given}
        if not isinstance(given, dict):
            raise ValueError("expected a list of phrases, or `phrases:` with such a list below it")
        return given


class PhrasesSpec(Spec):
    """The whole file."""

    slots: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]] = Field(default_factory=dict)
    intents: dict[str, IntentSpec]


@dataclass(frozen=True)
class Phrase:
    """One example phrase of an intent: a template (`{slot}`, `(a|b)`), as the file has it, and where."""

    intent: str
    number: int  # among its intent's phrases, from 0
    template: str
    written: str
    line: int

    @property
    def id(self) -> str:
        """What it is called: INTENT/NUMBER."""
        return f"{self.intent}/{self.number}"

    @property
    def slots(self) -> tuple[str, ...]:
        """The slots that stand in it, each once."""
        return tuple(dict.fromkeys(re.findall(r"\{(\w+)\}", self.template)))


@dataclass(frozen=True)
class Phrases:
    """What may be said, and what it means."""

    path: Path
    slots: Mapping[str, tuple[str, ...]]
    names: Mapping[str, str]  # intent -> what it is called
    phrases: tuple[Phrase, ...]
    warnings: tuple[str, ...] = field(default=())

    @property
    def intents(self) -> list[str]:
        """The intents, in the file's order."""
        return list(self.names)

    def of(self, intent: str) -> list[Phrase]:
        """The phrases of an intent."""
        return [phrase for phrase in self.phrases if phrase.intent == intent]

    def draw(self, phrase: Phrase, limit: int, seed: str) -> list[Filling]:
        """At most `limit` sentences of a phrase, every value of a slot about equally often."""
        return draw(phrase.template, self.slots, limit, f"{seed}/{phrase.id}")


def read_phrases(path: Path) -> Phrases:
    """Read and check a file of phrases.

    Raises:
        UserError: no such file, no YAML, or a line for each mistake: an unknown slot, a single intent, an empty list, a
            phrase that is there twice, two intents of one name, or that share a phrase (as written, or as filled).

    Example:
        phrases = read_phrases(Path("phrases.yaml"))
        phrases.intents  # ["order_tea", "cancel"]
    """
    if path.is_file() and path.stat().st_size > LARGEST:
        raise UserError(f"{path}: {path.stat().st_size:,} bytes, expected phrases of at most {LARGEST:,}; shorten it")
    raw = read_mapping(path, "slots and intents")
    where = _Lines(path)
    try:
        spec = PhrasesSpec.model_validate(raw)
    except ValidationError as error:
        raise UserError("\n".join(error_lines(error, raw, where.of, PhrasesSpec))) from None
    mistakes = [*_slot_mistakes(spec, where), *_intent_mistakes(spec, where)]
    if mistakes:
        raise UserError("\n".join(mistakes))
    phrases = tuple(
        Phrase(intent, number, re.sub(r"\$(\w+)", r"{\1}", written), written, where.line("intents", intent, number))
        for intent, each in spec.intents.items()
        for number, written in enumerate(each.phrases)
    )
    names = {intent: each.name or intent.replace("_", " ") for intent, each in spec.intents.items()}
    used = {slot for phrase in phrases for slot in phrase.slots}
    unused = [slot for slot in spec.slots if slot not in used]
    warnings = [f"{where.of(['slots', slot])}: slots.{slot}: no phrase uses it; it is left out" for slot in unused]
    slots = {slot: values for slot, values in spec.slots.items() if slot in used}
    read = Phrases(path, slots, names, phrases, tuple(warnings))
    mistakes = overlaps(read)
    if mistakes:
        raise UserError("\n".join(mistakes))
    return read


def _slot_mistakes(spec: PhrasesSpec, where: "_Lines") -> Iterator[str]:
    for slot, values in spec.slots.items():
        at = where.of(["slots", slot])
        if not re.fullmatch(r"[A-Za-z]\w*", slot, re.ASCII):
            yield f"{at}: slots.{slot}: expected a name such as size: letters, digits and _"
        elif slot in TAKEN:
            yield f"{at}: slots.{slot}: recordings have a column of this name; call it {slot}_value"
        twice = [value for i, value in enumerate(values) if bare_words(value) in map(bare_words, values[:i])]
        yield from (f"{at}: slots.{slot}: {value!r} is there twice; leave it out" for value in twice)
        for value in values:
            signs = "holds a sign of templates" if re.search(r"[$(){}|]", value) else ""
            if problem := _text_problem(value) or signs:
                yield f"{at}: slots.{slot}: {value!r} {problem}; write it as it is said"


def _intent_mistakes(spec: PhrasesSpec, where: "_Lines") -> Iterator[str]:
    if len(spec.intents) < 2:
        yield (
            f"{where.of(['intents'])}: intents: found {len(spec.intents)} ({', '.join(spec.intents) or 'none'}), "
            "expected two or more to choose among; add one, such as what people say that is none of it"
        )
    total = sum(len(each.phrases) for each in spec.intents.values())
    if total > MOST:
        yield f"{where.path}: {total:,} phrases, expected at most {MOST:,}; write their common parts as slots"
    for intent, each in spec.intents.items():
        if not intent.strip() or "\n" in intent:
            yield f"{where.of(['intents', intent])}: intents: {intent!r}: expected a name, such as order_tea"
        elif problem := _text_problem(intent if each.name is None else each.name):
            yield f"{where.of(['intents', intent])}: intents.{intent}: its name {problem}; write a name: below it"
        for number, written in enumerate(each.phrases):
            at = f"{where.of(['intents', intent, str(number)])}: intents.{intent}: {written!r}"
            yield from (f"{at}: {problem}" for problem in _phrase_problems(written, spec.slots))


def _worst(options: Sequence[str]) -> str:
    """The first of a phrase's alternatives that cannot be said, else the first."""
    return next((option for option in options if _text_problem(option)), options[0])


def _phrase_problems(written: str, slots: Mapping[str, Sequence[str]]) -> Iterator[str]:
    bare = re.sub(r"\([^()]*\)", "", written)
    least = re.sub(r"\(([^()]*)\)", lambda found: _worst(found[1].split("|")), written)
    if problem := _text_problem(re.sub(r"\$\w+", "x", least)):
        said = "" if least == written else f", said as {least!r}"
        yield f"{problem}{said}; write what people say, or leave it out"
    elif re.search(r"[{}]", written):
        yield "holds braces; slots are written $size"
    elif re.search(r"\$(?!\w)", written):
        yield "holds a $ without a name; a slot is written $size, an amount of money in words"
    elif re.search(r"[()|]", bare):
        yield "alternatives are written (a|b), none inside another"
    for slot in dict.fromkeys(re.findall(r"\$(\w+)", written)):
        if slot not in slots:
            near = get_close_matches(slot, slots, n=1)
            known = (
                f"known are {', '.join(f'${name}' for name in slots)}" if slots else "give its values under `slots:`"
            )
            yield f"no slot {slot}; " + (f"did you mean ${near[0]}?" if near else known)
        elif len(re.findall(rf"\${slot}\b", written)) > len(slots[slot]):
            yield f"${slot} stands there more often than it has values; add values, or take one out"


def _text_problem(text: str) -> str:
    if not is_unicode(text):
        return "is not Unicode text"
    return "" if re.search(r"\w", text) else "has no word in it"


class _Lines:
    """Which line of a YAML file a key, or the n-th entry of a list, stands on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = yaml.compose(path.read_text(encoding="utf-8-sig"), Loader=yaml.SafeLoader)

    def of(self, keys: Sequence[str]) -> str:
        """The file and the line, for an error."""
        return f"{self.path}: line {self.line(*keys)}"

    def line(self, *keys: object) -> int:
        """The line, from 1; of what is missing, that of what it would be in."""
        node, found = self.root, 1
        for key in keys:
            inner = self._inner(node, str(key))
            if inner is not None:
                node, found = inner[1], inner[0].start_mark.line + 1
        return found

    @staticmethod
    def _inner(node: Any, key: str) -> tuple[Any, Any] | None:
        if isinstance(node, yaml.SequenceNode):
            return (node.value[int(key)],) * 2 if key.isdecimal() and int(key) < len(node.value) else None
        if not isinstance(node, yaml.MappingNode):
            return None
        named = {k.value: (k, v) for k, v in node.value if isinstance(k, yaml.ScalarNode)}
        if key not in named and "phrases" in named:  # entries of an intent that has a name
            return _Lines._inner(named["phrases"][1], key)
        return named.get(key)
