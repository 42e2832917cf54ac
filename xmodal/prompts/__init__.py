"""Prompt templates as data, and class names as a person would say them.

A template set is a YAML file holding a list of sentences in which `{c}` stands for the class name. The sets shipped
here are found by name (`speech_intent`, `digits`, `cifar`, `plain`, ...), and so are CLIP's 80 and 7 for ImageNet
(`imagenet80`, `imagenet7`), which are read from the installed open_clip; a user's own set is found by its path. Text
files with one template, or one class name, a line are read too: webdataset's sets for classification bring such.
"""

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

import yaml

from xmodal.config.yaml_text import read_yaml
from xmodal.errors import UserError

_SHIPPED = Path(__file__).parent
_OPEN_CLIP = {"imagenet80": "OPENAI_IMAGENET_TEMPLATES", "imagenet7": "SIMPLE_IMAGENET_TEMPLATES"}


def load_templates(name_or_path: str | Path) -> list[str]:
    """The templates of a shipped set, or of a file of one's own: a YAML list, or a `.txt` with one a line.

    Args:
        name_or_path: a set's name; or a path, told by its ending `.yaml`, `.yml` or `.txt`, or by a folder in it.

    Raises:
        UserError: no such set or file; the file is no list of sentences, is empty, or a template lacks `{c}`.

    Example:
        load_templates("digits")  # ["{c}", "the digit {c}", ...]
    """
    if str(name_or_path) in _OPEN_CLIP:
        from open_clip import zero_shot_metadata  # late: it takes seconds, and most sets do not need it

        return [template("{c}") for template in getattr(zero_shot_metadata, _OPEN_CLIP[str(name_or_path)])]
    given = Path(name_or_path)
    if given.suffix in (".yaml", ".yml", ".txt") or len(given.parts) > 1:
        path = given
        if not path.is_file():
            raise UserError(f"{path}: no such template file; expected a YAML list of sentences with {{c}} in them")
    else:
        path = _SHIPPED / f"{name_or_path}.yaml"
        known = sorted([*(p.stem for p in _SHIPPED.glob("*.yaml")), *_OPEN_CLIP])
        if str(name_or_path) not in known:
            near = get_close_matches(str(name_or_path), known, n=1)
            hint = f"did you mean {near[0]}?" if near else "name one of these or a YAML file"
            raise UserError(f"prompts: no template set {str(name_or_path)!r} among {', '.join(known)}; {hint}")
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        templates = lines if path.suffix == ".txt" else read_yaml(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a YAML list of templates: {' '.join(str(error).split())}") from None
    if not isinstance(templates, list) or not templates:
        raise UserError(f"{path}: expected a list of sentences with {{c}} in them, found {templates!r:.60}")
    for number, template in enumerate(templates, start=1):
        if not isinstance(template, str) or "{c}" not in template:
            raise UserError(f"{path}: template {number}, {template!r}: expected a sentence with {{c}} in quotes")
    return templates


def fill(templates: Sequence[str], name: str) -> list[str]:
    """Each template with `{c}` replaced by a class name; other braces are left alone.

    Example:
        fill(["{c}", "please {c}"], "play music")  # ["play music", "please play music"]
    """
    return [template.replace("{c}", name) for template in templates]


def readable(label: str) -> str:
    """A label as words: underscores become spaces.

    Example:
        readable("play_music")  # "play music"
    """
    return " ".join(label.replace("_", " ").split())


def read_names(path: Path | None) -> Mapping[str, str]:
    """Label -> class name, from a JSON object of them; nothing without a path.

    Of a `.txt` with one name a line, the names of the labels 0, 1, 2, ...

    Raises:
        UserError: it cannot be read, or is something else.
    """
    if path is None:
        return {}
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = {str(at): line.strip() for at, line in enumerate(text.splitlines()) if line.strip()}
        names = lines if path.suffix == ".txt" else json.loads(text)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: expected JSON with one readable name per label ({error})") from error
    if not isinstance(names, dict) or not all(isinstance(v, str) for v in names.values()):
        raise UserError(f"{path}: expected a JSON object of label to readable name")
    return names


def class_names(labels: Sequence[str], names: Path | None = None) -> list[str]:
    """What each label is called: as the JSON file `names` says, else `readable`.

    Example:
        class_names(["traffic_light"])  # ["traffic light"]
    """
    given = read_names(names)
    return [given.get(label, readable(label)) for label in labels]
