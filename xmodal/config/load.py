"""From a YAML file and a command line to a checked `RunConfig`, and back. Imports no torch.

Input: a file, which may name one `base:` file (relative to its own folder), and overrides `a.b=value`.
Output: a `RunConfig`, or one `UserError` with a line per mistake. Later wins: base, file, command line. Mappings are
merged key by key, except that a mapping whose `kind` changes replaces the old one: the keys of one kind mean nothing
to another; and `null` takes away a tower, an evaluator, a target, a teacher or a modality that was inherited, or all.
"""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from xmodal.config.earlier import fill_in
from xmodal.config.error_lines import error_lines
from xmodal.config.kinds import OBJECTIVES
from xmodal.config.schema import RunConfig
from xmodal.config.yaml_text import name_of, read_mapping, read_yaml, write_yaml, yaml_problem
from xmodal.errors import UserError

COMMAND_LINE = "command line"
_NAMED = [("towers",), ("evaluators",), ("targets",), ("teachers",), ("data", "modalities")]  # maps with names as keys

_MADE_BY = ("data", "made_by")  # says how the data of the same layer are made: not those named above it

Tree = dict[str, Any]


def load_config(path: str | Path, overrides: Sequence[str] = (), saved: bool = False) -> RunConfig:
    """Read a run's config.

    Args:
        path: the YAML file. A key `base: base/x.yaml` in it names a file whose keys it inherits; a base has no base.
        overrides: `a.b=value`, the value written as YAML. A mapping given as value replaces what was there. A new
            `kind` drops the keys of the old kind, whatever the order of the overrides. `evaluators.test=null` takes one
            away that is there.
        saved: a run wrote it, into its folder: keys that it lacks mean what they meant then (see `fill_in`).

    Raises:
        UserError: the file is missing, empty or no YAML; or the config is wrong: every mistake on a line of its own,
            as `configs/x.yaml: train.setps: unknown key; did you mean train.steps?`.

    Example:
        config = load_config("configs/demo_cwcl.yaml", ["train.steps=500", "objective.kernel.kind=power"])
    """
    path = Path(path)
    own = read_mapping(path)
    base_path, base = _read_base(path, own)
    merged = _merge(base, own)
    if not _has(own, _MADE_BY):
        _forget_maker(merged, base)
    if saved or "format" in own:
        fill_in(merged)
    written = copy.deepcopy(merged)
    mistakes = _apply(merged, overrides)
    set_here = [override.partition("=")[0] for override in overrides]
    if not {"data", ".".join(_MADE_BY)} & {*set_here}:
        _forget_maker(merged, written)

    def source(keys: Sequence[str]) -> str:
        """Who wrote this key: the command line, the file or its base."""
        dotted = ".".join(keys)
        if any(f"{dotted}.".startswith(f"{key}.") for key in set_here):
            return COMMAND_LINE
        if _has(own, keys):
            return str(path)
        if _has(base, keys):
            return str(base_path)
        return COMMAND_LINE if any(key.startswith(f"{dotted}.") for key in set_here) else str(path)

    try:
        config = RunConfig.model_validate(merged)
    except ValidationError as error:
        mistakes += error_lines(error, merged, source, RunConfig)
    if mistakes:
        raise UserError("\n".join(mistakes))
    return config


def dump_config(config: RunConfig) -> str:
    """The config as YAML, every default written out: `load_config` of it gives an equal config.

    Example:
        (run / "config.yaml").write_text(dump_config(config))
    """
    return write_yaml(config.model_dump(mode="json"))


def config_differences(a: RunConfig, b: RunConfig) -> list[str]:
    """What changed from `a` to `b`, a line `key: old -> new` for each key; empty if they are equal.

    Example:
        config_differences(saved, asked)  # ["train.steps: 1000 -> 2000"]
    """
    old, new = _flatten(a.model_dump(mode="json")), _flatten(b.model_dump(mode="json"))
    keys = [*old, *(key for key in new if key not in old)]
    return [
        f"{key}: {old.get(key, 'not set')} -> {new.get(key, 'not set')}"
        for key in keys
        if key not in old or key not in new or old[key] != new[key]
    ]


# ---------------------------------------------------------------------------------------------------------- reading


def _read_base(path: Path, own: Tree) -> tuple[Path | None, Tree]:
    """The file and the content of `base`, which is taken out of `own`."""
    if "base" not in own:
        return None, {}
    name = own.pop("base")
    if not isinstance(name, str) or not name:
        raise UserError(f"{path}: base: found {name!r}, expected one file name, as base/demo.yaml")
    base_path = path.parent / name
    try:
        base = read_mapping(base_path)
    except UserError as error:
        raise UserError(f"{path}: base: {error}") from None
    if "base" in base:
        raise UserError(f"{base_path}: base: a base has no base of its own; {path} may name only one level")
    return base_path, base


# ---------------------------------------------------------------------------------------------------------- merging


def _merge(low: Mapping[str, Any], high: Mapping[str, Any], path: tuple[str, ...] = ()) -> Tree:
    if "kind" in low and "kind" in high and low["kind"] != high["kind"]:
        return dict(high)
    if ("kind" in low and _are_terms(high)) or ("kind" in high and _are_terms(low)):
        return dict(high)  # one objective in place of several named ones, or the other way round
    merged = dict(low)
    for key, value in high.items():
        below = merged.get(key)
        if value is None and below is not None and _is_named((*path, key)):
            del merged[key]
        elif isinstance(below, dict) and isinstance(value, dict):
            merged[key] = _merge(below, value, (*path, key))
        else:
            merged[key] = value
    return merged


def _is_named(keys: Sequence[str]) -> bool:
    """Does `null` take it away? It does so with a map of `_NAMED`, and with each entry of one."""
    return tuple(keys) in _NAMED or tuple(keys[:-1]) in _NAMED


def _forget_maker(tree: Tree, before: Tree) -> None:
    """Take `data.made_by` out, in place, where the data are others than those before, which it makes."""
    data, old = tree.get("data"), before.get("data")
    if isinstance(data, dict) and isinstance(old, dict) and data.get("train") != old.get("train"):
        data.pop("made_by", None)


def _are_terms(tree: Mapping[str, Any]) -> bool:
    """Is it several named objectives, rather than keys of one, such as its kernel?"""
    kinds = [value.get("kind") if isinstance(value, dict) else None for value in tree.values()]
    return bool(kinds) and all(kind in OBJECTIVES.names or ":" in str(kind) for kind in kinds) and "kernel" not in tree


def _apply(tree: Tree, overrides: Sequence[str]) -> list[str]:
    """Set the overrides in `tree`; returns a line for each one that cannot be set."""
    mistakes: list[str] = []
    settings: list[tuple[list[str], Any]] = []
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not all(key.split(".")):
            mistakes.append(f"{COMMAND_LINE}: {override!r}: expected key=value, as train.steps=500")
            continue
        try:
            settings.append((key.split("."), read_yaml(text)))
        except yaml.YAMLError as error:
            mistakes.append(f"{COMMAND_LINE}: {key}: {text!r} is not YAML: {yaml_problem(error)}")
    # What replaces a whole mapping comes first, outer before inner, since it must not undo another override: mappings,
    # kinds, which empty theirs, and what is taken away. Of two for one mapping the later wins.
    replacing = [s for s in settings if s[0][-1] == "kind" or isinstance(s[1], dict) or _removes(*s)]
    replacing.sort(key=lambda setting: len(setting[0]) - (setting[0][-1] == "kind"))
    others = [setting for setting in settings if setting not in replacing]
    for keys, value in [*replacing, *others]:
        mistakes += _set(tree, keys, value)
    return mistakes


def _removes(keys: Sequence[str], value: Any) -> bool:
    return value is None and _is_named(keys)


def _set(tree: Tree, keys: Sequence[str], value: Any) -> list[str]:
    for depth, key in enumerate(keys[:-1], start=1):
        # Copied on the way down: YAML aliases and the base share mappings.
        inner = tree.get(key)
        if inner is not None and not isinstance(inner, dict):
            outer = ".".join(keys[:depth])
            return [f"{COMMAND_LINE}: {'.'.join(keys)}: {outer} is a {name_of(inner)}; set all of it, {outer}=..."]
        tree[key] = dict(inner or {})
        tree = tree[key]
    if keys[-1] == "kind" and (tree.get("kind", value) != value or _are_terms(tree)):
        tree.clear()  # the keys of another kind, or the terms that one objective takes the place of
    if _removes(keys, value):
        if keys[-1] not in tree:
            there = f"; there: {', '.join(tree)}" if tree else ""
            return [f"{COMMAND_LINE}: {'.'.join(keys)}=null: there is none to take away{there}"]
        del tree[keys[-1]]
        return []
    tree[keys[-1]] = value
    return []


def _has(tree: Any, keys: Sequence[str]) -> bool:
    for key in keys:
        if not isinstance(tree, dict) or key not in tree:
            return False
        tree = tree[key]
    return True


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Tree:
    flat: Tree = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat
