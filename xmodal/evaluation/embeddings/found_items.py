"""What there is to embed: the files of a folder, the lines of text files, or the items of a manifest.

Output: names, values, and what the manifest's other columns say of each item. Axes: n items.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from xmodal.config.data import MODALITY_OF_KIND
from xmodal.data.items import column_of
from xmodal.data.manifest import read_pairs, root_of, strings
from xmodal.data.sources.folders import AUDIO, IMAGES
from xmodal.encoding.encoder import Item
from xmodal.errors import UserError
from xmodal.evaluation.embeddings.columns import kept_columns, no_columns, rows_that_differ
from xmodal.evaluation.test_sets.item_sources import item_source
from xmodal.files import files_under, split_lines
from xmodal.prompts import read_text

SUFFIXES = {"image": IMAGES, "audio": AUDIO, "text": {".txt"}}


@dataclass(frozen=True)
class FoundItems:
    """What there is to embed: a name and a value for each; a value is a text, a path under `root`, or bytes."""

    root: Path
    ids: list[str]  # [n]
    values: list[str | bytes]  # [n]
    columns: pa.Table = field(default_factory=no_columns)  # [n] the manifest's other columns; of a folder none
    notes: list[str] = field(default_factory=list)  # what of them is not there

    def items(self, kind: str) -> list[Item]:
        """The items as `Encoder.encode` takes them."""
        if kind == "text":
            return list(self.values)
        return [item_source(value, self.root) for value in self.values]


def find_items(source: Path, modality: str, kind: str, column: str | None = None) -> FoundItems:
    """The items of a folder, a text file (one item a line, blank ones passed over) or a manifest, each once.

    Args:
        source: a folder is searched to its depths for files of the kind, in order of their paths; one that holds
            none of them is read as a manifest (tars, parquet files).
        modality: as the encoder calls it; the manifest's column, unless `column` names another.
        kind: image, audio or text.
        column: of the manifest.

    Raises:
        UserError: nothing there, nothing of that kind, or what `read_manifest` raises.

    Example:
        find_items(Path("photos"), "image", "image").ids  # ["2024/a.jpg", "b.png"]
    """
    suffixes = SUFFIXES[kind]
    if source.is_dir():
        there = files_under(source)
        files = [file for file in there if file.suffix.lower() in suffixes]
        if files:
            found = _lines(source, files) if kind == "text" else _files(source, files)
            return replace(found, notes=[*found.notes, *_left_out(set(there) - set(files))])
        if not any(file.suffix.lower() in (".tar", ".parquet") for file in there):
            raise UserError(f"{source}: no {kind} in it; expected files ending in {', '.join(sorted(suffixes))}")
    elif kind == "text" and source.suffix.lower() == ".txt" and source.is_file():
        return _lines(source.parent, [source])
    return _of_manifest(source, modality, kind, column)


def _of_manifest(source: Path, modality: str, kind: str, column: str | None) -> FoundItems:
    spec = MODALITY_OF_KIND[kind](column=column)
    manifest, pairs = read_pairs(source, {modality: spec})
    items, names = pairs[modality], strings(manifest, "id").to_pylist()
    first: dict[int, int] = {}  # item id -> the row that named it first
    ids, values, rows, again = [], [], [], []
    for row, name in enumerate(names):
        places = range(len(items.values))[items.of(row)]
        for number, place in enumerate(places):
            item = int(items.ids[place])
            if item in first:
                again.append((row, first[item]))
                continue
            first[item] = row
            ids.append(name if len(places) == 1 else f"{name}:{number}")
            values.append(items.value(place))
            rows.append(row)
    columns, notes = kept_columns(manifest.table, kind, column_of(modality, spec))
    differ = rows_that_differ(columns, again)
    if differ:
        notes.append(f"{differ:,} rows name an item again with other values in their columns: the first row's are kept")
    return FoundItems(root_of(source), ids, values, columns.take(pa.array(rows, pa.int64())), notes)


def _left_out(files: Collection[Path]) -> list[str]:
    """How many files of a folder are of another kind, by their endings."""
    if not files:
        return []
    endings = Counter(file.suffix.lower() or "none" for file in files).most_common()
    return [f"left out by their endings: {', '.join(f'{ending} ({count:,})' for ending, count in endings)}"]


def _files(root: Path, files: Sequence[Path]) -> FoundItems:
    names = [file.relative_to(root).as_posix() for file in files]
    for name in names:
        if any("\ud800" <= letter <= "\udfff" for letter in name):  # what Python makes of bytes that are not UTF-8
            raise UserError(f"{root}: {name!r}: the file's name is not UTF-8; rename it")
    return FoundItems(root, names, list(names))


def _lines(root: Path, files: Sequence[Path]) -> FoundItems:
    ids, values = [], []
    for file in files:
        try:
            lines = split_lines(read_text(file))
        except UnicodeDecodeError as error:
            raise UserError(f"{file}: not UTF-8 ({error.reason}); convert it") from error
        for number, line in enumerate(lines, start=1):
            if line.strip():
                ids.append(f"{file.relative_to(root).as_posix()}:{number}")
                values.append(line.strip())
    if not ids:
        raise UserError(f"{files[0]}: no line with text in it; expected one text per line")
    return FoundItems(root, ids, list(values))
