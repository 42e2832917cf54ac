"""Example phrases of the values of several label sets. Input: a manifest. Output: phrases by set and value."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from xmodal.data.manifest import read_manifest, strings
from xmodal.errors import UserError

Sets = Mapping[str, tuple[str, ...]]  # set -> its values


def read_phrases(path: Path, sets: Sets, names: Mapping[str, str]) -> dict[str, list[list[str]]]:
    """For every set the phrases of each of its values, in their order.

    A phrase belongs to the value that its column of the set's name holds; where the manifest has no such column, to
    every value whose name occurs in it, as whole words, case aside.

    Args:
        path: manifest of `text`, and columns of the sets where there are any; no id needed.
        sets: set -> values.
        names: value -> how it is said.

    Raises:
        UserError: what `read_manifest` raises; a value without a phrase.

    Example:
        read_phrases(Path("orders.jsonl"), {"size": ("small", "large")}, {"small": "small", "large": "large"})
    """
    rows = read_manifest(path, ("text",), ids=False)
    texts = [str(text) for text in rows["text"]]
    found: dict[str, list[list[str]]] = {}
    for name, values in sets.items():
        if name in rows.column_names:
            given: Sequence[str | None] = strings(rows, name).to_pylist()
            groups = [[text for text, one in zip(texts, given, strict=True) if one == value] for value in values]
        else:
            groups = [[text for text in texts if _says(text, names[value])] for value in values]
        bare = [value for value, group in zip(values, groups, strict=True) if not group]
        if bare:
            where = f"column {name!r} names" if name in rows.column_names else "phrase holds"
            raise UserError(f"{path}: no {where} {bare[0]!r} of the set {name}; add a phrase, or leave the value out")
        found[name] = groups
    return found


def _says(text: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE) is not None
