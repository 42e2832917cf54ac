"""YAML as a config needs it: text in, plain Python values out, and back.

Four changes to PyYAML's safe loader and dumper: a key given twice is an error (it keeps the last one silently),
`1e-3` is a number (YAML 1.1 asks for a dot and a sign, `1.0e-3`, and reads the rest as text), `2026-11-22` is
text, and so are `on`, `off`, `yes` and `no` (YAML 1.1 takes them for true and false; `on` is a key of ours).
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from xmodal.errors import UserError, no_such_file

_FLOAT = re.compile(r"[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+\Z")
_BOOL = re.compile(r"(true|True|TRUE|false|False|FALSE)\Z")
_FIRST_CHARACTERS = list("-+.0123456789")


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            line = key.start_mark.line + 1
            if key.value in seen:
                problem = f"key {key.value!r} is given twice, first on line {seen[key.value]}"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen[key.value] = line
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if not tag.endswith((":timestamp", ":bool"))]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")
)
# The dumper must know the rule too: it puts quotes around a string that the loader would take for a number.
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, _FIRST_CHARACTERS)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, _FIRST_CHARACTERS)


def read_yaml(text: str) -> Any:
    """The value of one YAML document, plain types only.

    Raises:
        yaml.YAMLError: no YAML, a key given twice, or a tag that asks for a Python object.

    Example:
        read_yaml("lr: 1e-3")  # {"lr": 0.001}
    """
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader: builds no objects
    except ValueError as error:  # what looks like a number and is none: 0b_
        raise yaml.YAMLError(str(error)) from None
    except RecursionError:
        raise yaml.YAMLError("brackets or lists are too deep inside each other; close what is open") from None


def write_yaml(value: Any) -> str:
    """Plain values as YAML, keys in their own order; `read_yaml` gives them back.

    Example:
        write_yaml({"revision": "12e45"})  # revision: '12e45'
    """
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=120)


def read_mapping(path: Path, expected: str = "the keys of a run") -> dict[str, Any]:
    """A file that holds one mapping: a config, a sweep, a suite.

    Raises:
        UserError: missing, empty, no YAML, or another thing than a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise no_such_file(path) from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder, expected a YAML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    try:
        tree = read_yaml(text)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: {yaml_problem(error)}") from None
    if tree is None:
        raise UserError(f"{path}: empty, expected {expected}")
    if not isinstance(tree, dict):
        raise UserError(f"{path}: found a {name_of(tree)}, expected a mapping of keys to values")
    return tree


def yaml_problem(error: yaml.YAMLError) -> str:
    """What is wrong with a YAML text, and in which line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return f"not YAML: {' '.join(str(error).split())}"


def name_of(value: Any) -> str:
    """What a value read from YAML is called in errors: list, mapping, single value."""
    return "list" if isinstance(value, list) else "mapping" if isinstance(value, dict) else f"single value, {value!r}"


def as_override(key: str, value: Any) -> str:
    """`key=value` as a command line takes it; JSON is YAML."""
    return f"{key}={json.dumps(value, ensure_ascii=False)}"


def overridden(overrides: Sequence[str], by: Sequence[str]) -> tuple[str, ...]:
    """Overrides, then others that win over them: one of a key that `by` sets as a whole, or inside it, is left out.

    On a command line what sets a whole mapping comes first, wherever it stands; here it has the last word.
    """
    taken = [each.partition("=")[0] for each in by]
    kept = [each for each in overrides if not any(f"{each.partition('=')[0]}.".startswith(f"{key}.") for key in taken)]
    return (*kept, *by)
