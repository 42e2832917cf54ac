"""Sets of prompt templates: lists of sentences in which `{c}` stands for the class name.

A set is found by a shipped name (`speech_intent`, `cifar`, `imagenet80`, ...), by a name that another package adds
(entry-point group `xmodal.template_sets`), as `package.module:ATTRIBUTE`, or by the path of a YAML or text file. What a
package adds is a list of templates, or a mapping of such lists by name, of which `ENTRY.NAME` is one.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from xmodal.config.kinds import TEMPLATE_SETS
from xmodal.config.yaml_text import read_yaml
from xmodal.errors import UserError
from xmodal.prompts.text_file import is_unicode, lines_of, read_text


def template_sets() -> list[str]:
    """The names of all sets: the shipped ones, then those of other packages.

    Example:
        template_sets()  # ["aircraft", "birdsnap", ..., "voc2007"]
    """
    return TEMPLATE_SETS.names


def load_templates(name_or_path: str | Path) -> list[str]:
    """The templates of a set, or of a file of one's own: a YAML list, or a `.txt` with one a line.

    Args:
        name_or_path: a set's name; or a path, told by its ending `.yaml`, `.yml` or `.txt`, or by a folder in it.

    Raises:
        UserError: no such set or file; it is no list of sentences, is empty, a template lacks `{c}`, or occurs twice,
            and would count twice in every class vector.

    Example:
        load_templates("digits")  # ["{c}", "the digit {c}", ...]
    """
    name = str(name_or_path)
    if Path(name).suffix in (".yaml", ".yml", ".txt") or len(Path(name).parts) > 1:
        return _read_templates(Path(name))
    return _checked(_find(name), f"prompts: {name}", "a list of sentences with {c} for the class name")


def fill(templates: Sequence[str], name: str) -> list[str]:
    """Each template with `{c}` replaced by a class name; other braces are left alone.

    Example:
        fill(["{c}", "please {c}"], "play music")  # ["play music", "please play music"]
    """
    return [template.replace("{c}", name) for template in templates]


def _find(name: str) -> Any:
    """What stands behind the name of a set; of a mapping of sets the one after the dot."""
    base, dot, inner = name.rpartition(".")
    if dot and (base in TEMPLATE_SETS.names or ":" in base):
        sets = TEMPLATE_SETS.find(base)
        if isinstance(sets, Mapping):
            if inner not in sets:
                near = get_close_matches(inner, map(str, sets), n=1)
                hint = f"; did you mean {base}.{near[0]}?" if near else ""
                raise UserError(f"prompts: no template set {inner!r} in {base}: {', '.join(map(str, sets))}{hint}")
            return _listed(sets[inner])
    if name not in TEMPLATE_SETS.names and ":" not in name:
        near = get_close_matches(name.lower(), template_sets(), n=1)
        way_out = f"did you mean {near[0]}?" if near else "name one of these, or a YAML file"
        raise UserError(f"prompts: no template set {name!r} among {', '.join(template_sets())}; {way_out}")
    try:
        found = TEMPLATE_SETS.find(name)
    except UserError as error:
        raise UserError(f"prompts: {error}") from None
    if isinstance(found, Mapping):
        raise UserError(f"prompts: {name} holds several template sets; name one, as {name}.{next(iter(found), 'NAME')}")
    return _listed(found)


def _listed(found: Any) -> Any:
    return list(found) if isinstance(found, tuple) else found


def _read_templates(path: Path) -> list[str]:
    a_line = path.suffix == ".txt"
    wanted = "sentences with {c} for the class name, " + ("one a line" if a_line else "as a YAML list")
    if not path.is_file():
        raise UserError(f"{path}: no such template file; expected {wanted}")
    try:
        text = read_text(path)
        templates = [line.strip() for line in lines_of(text) if line.strip()] if a_line else read_yaml(text)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}; expected {wanted}") from None
    return _checked(templates, str(path), wanted)


def _checked(templates: Any, where: str, wanted: str) -> list[str]:
    if not templates:
        raise UserError(f"{where}: no templates; expected {wanted}")
    if not isinstance(templates, list):
        raise UserError(f"{where}: expected {wanted}, found {templates!r:.60}")
    first: dict[str, int] = {}
    for number, template in enumerate(templates, start=1):
        if not isinstance(template, str):
            raise UserError(
                f"{where}: template {number}, {template!r:.60}: expected a sentence in quotes, with {{c}} in it"
            )
        if "{c}" not in template:
            raise UserError(f"{where}: template {number}, {template!r}: expected {{c}} where the class name goes")
        if not is_unicode(template):
            raise UserError(f"{where}: template {number}, {template!r}: half a surrogate pair; write it anew")
        earlier = first.setdefault(template.strip(), number)
        if earlier != number:
            raise UserError(
                f"{where}: template {number}, {template!r}, is template {earlier} again; remove one of them"
            )
    return templates
