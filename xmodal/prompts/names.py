"""Class names as a person would say them: from a file of names by label, else the label with spaces for underscores."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from xmodal.errors import UserError
from xmodal.files import split_lines
from xmodal.prompts.text_file import is_unicode, read_text

log = logging.getLogger(__name__)


def readable(label: str) -> str:
    """A label as words: underscores become spaces.

    Example:
        readable("play_music")  # "play music"
    """
    return " ".join(label.replace("_", " ").split())


def bare_words(sentence: str) -> str:
    """A sentence in lower case, without punctuation, single spaces between words.

    Example:
        bare_words("Play,  a tune!")  # "play a tune"
    """
    return " ".join(re.sub(r"[^\w\s]", "", sentence.lower()).split())


def read_names(path: Path | None) -> Mapping[str, str]:
    """Label -> class name, from a JSON object or a YAML mapping of them; nothing without a path.

    Of a `.txt` with one name a line, the names of the labels 0, 1, 2, ...

    Raises:
        UserError: it cannot be read, or is something else.
    """
    if path is None:
        return {}
    format_ = "YAML" if path.suffix in (".yaml", ".yml") else "JSON"
    try:
        text = read_text(path)
        names: Any
        if path.suffix == ".txt":
            names = {str(at): line.strip() for at, line in enumerate(split_lines(text)) if line.strip()}
        else:
            names = _yaml_names(text) if format_ == "YAML" else json.loads(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: expected {format_} with one readable name per label ({reason})") from error
    if not isinstance(names, dict) or not all(isinstance(x, str) for pair in names.items() for x in pair):
        kind = "a YAML mapping" if format_ == "YAML" else "a JSON object"
        raise UserError(f"{path}: expected {kind} of label to readable name")
    found: dict[str, str] = names
    for label, name in found.items():
        if not is_unicode(label + name):
            raise UserError(f"{path}: {label!r}: {name!r}: half a surrogate pair is no text; write the name anew")
    return found


def _yaml_names(text: str) -> dict[str, str] | None:
    """A mapping of words to words, each as it is written: `007` and `no` are labels, and not 7 and false."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(node, yaml.MappingNode):
        return None
    names: dict[str, str] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or not isinstance(value, yaml.ScalarNode):
            return None
        if key.value in names:
            raise ValueError(f"line {key.start_mark.line + 1}: {key.value!r} is given twice")
        names[key.value] = value.value
    return names


class Named(NamedTuple):
    """What labels are called, and what a reader must know of it."""

    names: list[str]  # in the order of the labels
    notes: list[str]  # labels without a name and names without a label, counted


def name_labels(labels: Sequence[str], given: Mapping[str, str], source: str) -> Named:
    """Names for labels: those that are given, else `readable`.

    Args:
        labels: distinct.
        given: label -> name; may be empty.
        source: where `given` comes from, for errors and notes.

    Raises:
        UserError: names were given, and fit none of the labels; some labels have no name while some names have no
            label: that is how a wrong spelling looks; an empty name.

    Example:
        name_labels(["traffic_light"], {}, "names.json").names  # ["traffic light"]
    """
    bare = [label for label in labels if label not in given] if given else []
    known = set(labels)
    idle = [label for label in given if label not in known]
    if given and len(bare) == len(labels):
        raise UserError(
            f"names: none of the {len(given)} names of {source} is for one of the labels "
            f"({', '.join(labels[:3])}, ...); check that they are of the same kind"
        )
    if bare and idle:
        near = get_close_matches(bare[0], idle, n=1, cutoff=0.5)
        hint = f"; is {near[0]!r} there meant for it?" if near else ""
        raise UserError(
            f"{source}: {len(bare)} of {len(labels)} classes have no name (first {bare[0]!r}), and {len(idle)} names "
            f"are for no class (first {idle[0]!r}){hint or '; give every class its name'}"
        )
    names = [given.get(label, readable(label)) for label in labels]
    blank = [label for label, name in zip(labels, names, strict=True) if not name.strip()]
    if blank:
        raise UserError(f"{source if given else 'labels'}: the class {blank[0]!r} has an empty name; give it one")
    notes = []
    if bare:
        shown = ", ".join(bare[:3]) + (", ..." if bare[3:] else "")
        notes.append(f"{len(bare)} of {len(labels)} classes have no name in {source} and go by their labels: {shown}.")
    if idle:
        shown = ", ".join(idle[:3]) + (", ..." if idle[3:] else "")
        notes.append(f"{len(idle)} of {len(given)} names of {source} are for no class of the test: {shown}.")
    return Named(names, notes)


def class_names(labels: Sequence[str], names: Path | None = None) -> list[str]:
    """What each label is called: as the file `names` says, else `readable`; what does not fit is logged, or an error.

    Raises:
        UserError: as `read_names` and `name_labels`.

    Example:
        class_names(["traffic_light"])  # ["traffic light"]
    """
    found = name_labels(list(dict.fromkeys(labels)), read_names(names), str(names))
    for note in found.notes:
        log.warning("%s", note.replace("of the test", "of the data"))
    by_label = dict(zip(dict.fromkeys(labels), found.names, strict=True))
    return [by_label[label] for label in labels]
