"""Prompt templates as data, and class names as a person would say them.

A template set is a list of sentences in which `{c}` stands for the class name. The sets shipped here are found by name:
a YAML file each (`speech_intent`, `digits`, `image`, `photo`, `name`), CLIP's sets by data set in `clip.yaml` (`cifar`,
`food101`, ...), and CLIP's 80 and 7 for ImageNet (`imagenet80`, `imagenet7`), which are read from the installed
open_clip. A user's own set is a YAML file, found by its path. Text files with one template, or one class name, a line
are read too: webdataset's sets for classification bring such. `synonyms.yaml` is for the robustness report.
"""

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

import yaml

from xmodal.config.yaml_text import read_yaml
from xmodal.errors import UserError

_SHIPPED = Path(__file__).parent
_CLIP = _SHIPPED / "clip.yaml"  # many sets, by name
_NO_SETS = ("clip", "synonyms")
_OPEN_CLIP = {"imagenet80": "OPENAI_IMAGENET_TEMPLATES", "imagenet7": "SIMPLE_IMAGENET_TEMPLATES"}


def template_sets() -> list[str]:
    """The names of all shipped sets, sorted.

    Example:
        template_sets()  # ["aircraft", "birdsnap", ..., "sun397", "svhn", "voc2007"]
    """
    files = [path.stem for path in _SHIPPED.glob("*.yaml") if path.stem not in _NO_SETS]
    return sorted([*files, *_by_name(_CLIP), *_OPEN_CLIP])


def load_templates(name_or_path: str | Path) -> list[str]:
    """The templates of a shipped set, or of a file of one's own: a YAML list, or a `.txt` with one a line.

    Args:
        name_or_path: a set's name; or a path, told by its ending `.yaml`, `.yml` or `.txt`, or by a folder in it.

    Raises:
        UserError: no such set or file; the file is no list of sentences, is empty, a template lacks `{c}`, or occurs
            twice, and would count twice in every class vector.

    Example:
        load_templates("digits")  # ["{c}", "the digit {c}", ...]
    """
    name = str(name_or_path)
    if Path(name).suffix in (".yaml", ".yml", ".txt") or len(Path(name).parts) > 1:
        return _read_templates(Path(name))
    if name not in template_sets():
        raise UserError(f"prompts: no template set {name!r} among {', '.join(template_sets())}; {_way_out(name)}")
    if name in _OPEN_CLIP:
        from open_clip import zero_shot_metadata  # late: it takes seconds, and most sets do not need it

        return [template("{c}") for template in getattr(zero_shot_metadata, _OPEN_CLIP[name])]
    in_clip = _by_name(_CLIP)
    return in_clip[name] if name in in_clip else _read_templates(_SHIPPED / f"{name}.yaml")


def load_synonyms() -> dict[str, list[str]]:
    """Words of templates -> what may stand in their place; `(s)` marks words that may have it, and keep it.

    Example:
        load_synonyms()["photo(s)"]  # ["picture(s)", "image(s)"]
    """
    return _by_name(_SHIPPED / "synonyms.yaml")


def _by_name(path: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = read_yaml(path.read_text(encoding="utf-8"))
    return found


def _way_out(name: str) -> str:
    near = get_close_matches(name.lower(), template_sets(), n=1)
    return f"did you mean {near[0]}?" if near else "name one of these, or a YAML file"


def _read_templates(path: Path) -> list[str]:
    a_line = path.suffix == ".txt"
    wanted = "sentences with {c} for the class name, " + ("one a line" if a_line else "as a YAML list")
    if not path.is_file():
        raise UserError(f"{path}: no such template file; expected {wanted}")
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        templates = lines if a_line else read_yaml(text)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}; expected {wanted}") from None
    if not templates:
        raise UserError(f"{path}: no templates; expected {wanted}")
    if not isinstance(templates, list):
        raise UserError(f"{path}: expected {wanted}, found {templates!r:.60}")
    first: dict[str, int] = {}
    for number, template in enumerate(templates, start=1):
        if not isinstance(template, str):
            raise UserError(
                f"{path}: template {number}, {template!r:.60}: expected a sentence in quotes, with {{c}} in it"
            )
        if "{c}" not in template:
            raise UserError(f"{path}: template {number}, {template!r}: expected {{c}} where the class name goes")
        earlier = first.setdefault(template.strip(), number)
        if earlier != number:
            raise UserError(f"{path}: template {number}, {template!r}, is template {earlier} again; remove one of them")
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
