"""From pydantic's error to one line per mistake: whose file, which dotted key, what was found, what is expected.

pydantic's `loc` also names the member of a union it tried (`towers.text.transformers.nmae`). Walking the schema
along `loc` tells such a name from a key, and knows at each place which keys are allowed.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text (put quotes around it)",
    "path": "a path",
    "tuple": "a list, as [a, b]",
    "dict": "a mapping of keys to values",
    "model": "a mapping of keys to values",
}
BOUNDS = {
    "greater_than": "greater than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
}


def error_lines(error: ValidationError, raw: Any, source: Callable[[Sequence[str]], str], model: Any) -> list[str]:
    """A line `SOURCE: dotted.key: what is wrong` for each mistake, in the order of the schema, none twice.

    Args:
        error: what reading `raw` as a `model` raised.
        raw: what was checked, as plain values.
        source: which file (or the command line) wrote a key.
        model: the whole schema: a model, or a mapping of names to specs as `dict[str, TowerSpec]`.
    """
    complaints: dict[tuple[str, ...], list[str]] = {}
    found = error.errors(include_url=False)
    for details in found:
        if details["type"] == "too_short" and _is_above(details["loc"], found):
            continue  # pydantic counts the entries that are as they should be
        place = _walk(details["loc"], raw, model)
        message = _message(details, place, raw)
        if details["type"] in ("union_tag_invalid", "union_tag_not_found", "unknown_kind"):
            place.keys.append("kind")
        # The members of a plain union (`int` or "auto") each complain about the same key.
        complaints.setdefault(tuple(place.keys), []).append(message)
    lines = []
    for keys, messages in complaints.items():
        message = " or ".join([messages[0], *(re.sub(r"^.*?(is not|must be) ", "", m) for m in messages[1:])])
        for line in message.split("\n"):  # what looks at several keys may find several mistakes
            lines.append(": ".join([source(keys), *([".".join(keys)] if keys else []), line]))
    return lines


def _is_above(loc: tuple[int | str, ...], found: Sequence[ErrorDetails]) -> bool:
    """Is an entry of what stands at `loc` itself a mistake?"""
    return any(len(each["loc"]) > len(loc) and each["loc"][: len(loc)] == loc for each in found)


@dataclass
class _Where:
    type: Any  # what the schema says stands here
    root: Any  # the whole schema
    keys: list[str] = field(default_factory=list)  # the dotted key
    owner: type[BaseModel] | None = None  # whose field the last key is; none inside a dict or a list
    named: int | None = None  # position of the last key that is a free name (`towers.NAME`)


def _walk(loc: Iterable[int | str], raw: Any, model: Any) -> _Where:
    """Follow `loc` through the schema and, since a `kind` decides what stands below it, through what was checked."""
    place = _Where(model, model)
    for part in loc:
        if part == "[key]":  # the key before it is itself the mistake
            break
        members = _members(place.type, raw)
        models = [m for m in members if isinstance(m, type) and issubclass(m, BaseModel)]
        if len(models) > 1:  # a union told apart by `kind`: this part is the kind, not a key
            place.type = next(m for m in models if _kind(m) == part)
            continue
        if models:
            place.keys.append(str(part))
            place.owner = models[0]
            known = models[0].model_fields.get(str(part))
            place.type = Annotated[known.annotation, *known.metadata, None] if known else None  # type: ignore[name-defined]
        elif members and get_origin(members[0]) in (dict, tuple):
            place.keys.append(str(part))
            place.owner = None
            named = get_origin(members[0]) is dict
            if named:
                place.named = len(place.keys) - 1
            place.type = get_args(members[0])[1 if named else 0]  # the schema's tuples hold one type each
        else:
            break  # the member of a plain union
        try:
            raw = raw[part]
        except (TypeError, KeyError, IndexError):
            raw = None
    return place


def _members(annotation: Any, raw: Any = None) -> list[Any]:
    """The types an annotation allows, without None; where a registry reads the value, the one it reads it by."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        reader = next((each for each in metadata if hasattr(each, "type_of")), None)
        return _members(reader.type_of(raw) if reader else inner, raw)
    if get_origin(annotation) in (None, dict, tuple):
        return [] if annotation in (None, type(None)) else [annotation]
    return [m for a in get_args(annotation) for m in _members(a, raw)]


def _kind(model: type[BaseModel]) -> str:
    return str(model.model_fields["kind"].default)


def _kinds(annotation: Any) -> list[str]:
    """The kinds that may stand here."""
    for each in get_args(annotation)[1:] if get_origin(annotation) is Annotated else ():
        if hasattr(each, "registry"):
            return list(each.registry.names)
        if hasattr(each, "names"):
            return list(each.names)
    return [_kind(m) for m in _members(annotation)]


def _message(details: ErrorDetails, place: _Where, raw: Any) -> str:
    kind, context, found = details["type"], details.get("ctx", {}), _show(details["input"])
    if kind == "extra_forbidden":
        return f"unknown key{_nearest_key(place)}"
    if kind == "missing":
        return f"missing{_nearest_name(place, raw)}"
    if kind in ("unknown_kind", "out_of_range"):
        return str(context["message"])
    if kind == "union_tag_not_found":
        return f"missing{_nearest_name(place, raw)}; give one of {', '.join(_kinds(place.type))}"
    if kind in ("literal_error", "union_tag_invalid"):
        given = context["tag"] if kind == "union_tag_invalid" else details["input"]
        expected = context.get("expected_tags") or context["expected"]
        choices = re.findall(r"'([^']*)'", expected) or [expected]  # numbers stand without quotes
        if len(choices) == 1:
            return f"{given!r} must be {choices[0]}"
        near = get_close_matches(str(given), choices, n=1)
        return f"{given!r} is not one of {', '.join(choices)}" + (f"; did you mean {near[0]}?" if near else "")
    if kind in BOUNDS:
        return f"{found} must be {BOUNDS[kind].format(**context)}"
    if kind in ("too_short", "too_long"):
        limit = f"at least {context['min_length']}" if kind == "too_short" else f"at most {context['max_length']}"
        return f"found {context['actual_length']}, must be {limit}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "invalid_key":
        return "keys must be text (put quotes around it)"
    if details["input"] is None:
        return "has no value; give one, or leave the key out for its default"
    if kind == "tuple_type" and isinstance(details["input"], str):
        return f"{found} must be a list, as [{details['input']}]"
    if (
        kind.startswith(("model", "dict"))
        and isinstance(details["input"], str)
        and details["input"] in _kinds(place.type)
    ):
        return f"{found} must be a mapping, as {{kind: {details['input']}}}"
    expected = EXPECTED.get(kind.split("_")[0])
    return f"{found} must be {expected}" if expected else f"{found}: {details['msg']}"


def _nearest_key(place: _Where) -> str:
    *path, key = place.keys
    if place.owner is None:
        return ""
    allowed = [field.alias or name for name, field in place.owner.model_fields.items()]
    top = getattr(place.root, "model_fields", {})
    sections = {"": list(top)}
    for name, known in top.items():
        if isinstance(known.annotation, type) and issubclass(known.annotation, BaseModel):
            sections[f"{name}."] = list(known.annotation.model_fields)
    elsewhere = [f"{section}{key}" for section, keys in sections.items() if key in keys]
    near = [".".join([*path, n]) for n in get_close_matches(key, allowed, n=1)]
    guess = [*elsewhere, *near]
    return f"; did you mean {guess[0]}?" if guess else f"; known here: {', '.join(allowed)}"


def _nearest_name(place: _Where, raw: Any) -> str:
    """`towers.txt.mode=locked` on the command line makes a tower `txt`: was one of its neighbours meant?"""
    if place.named is None:
        return ""
    path, name = place.keys[: place.named], place.keys[place.named]
    for key in path:
        raw = raw[int(key)] if isinstance(raw, list) else raw[key]
    near = get_close_matches(name, [str(n) for n in raw if str(n) != name], n=1)
    return f" (did you mean {'.'.join([*path, near[0]])}?)" if near else ""


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
