"""Class subsets: which of ImageNet's 1,000 classes a data set is scored over.

Input: a subset's name, or a file of labels. Output: the labels in order, with where they come from. The lists of
ImageNet-R and ImageNet-A (200 classes each) are read from the installed timm; ObjectNet's archive brings its own.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from xmodal.errors import UserError
from xmodal.files import split_lines

_LISTS = {
    "imagenet": "imagenet_synsets.txt",
    "imagenet_v2": "imagenet_synsets.txt",  # ImageNet-V2 has all 1,000
    "imagenet_r": "imagenet_r_synsets.txt",
    "imagenet_a": "imagenet_a_synsets.txt",
}


@dataclass(frozen=True)
class ClassSubset:
    """Labels in the order candidates are compared, and the file they were read from, for the report."""

    labels: list[str]
    source: str
    sha256: str  # of the file


def load_subset(name_or_file: str | Path) -> ClassSubset:
    """The classes of `imagenet`, `imagenet_v2`, `imagenet_r` or `imagenet_a` as WordNet ids; or of a file of one's own.

    Args:
        name_or_file: a name; or a text file with one label a line, blank lines and lines that start with # aside.

    Raises:
        UserError: no such subset or file; a label that occurs twice, or none at all.

    Example:
        len(load_subset("imagenet_r").labels)  # 200
    """
    if str(name_or_file) in _LISTS:
        path = _shipped(_LISTS[str(name_or_file)])
        source = f"timm {version('timm')}, {path.name}"
    else:
        path = Path(name_or_file)
        source = str(path)
    if not path.is_file():
        near = get_close_matches(str(name_or_file), _LISTS, n=2, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else "or name a file with one label a line"
        raise UserError(
            f"classes: no subset or file {str(name_or_file)!r}; expected one of {', '.join(_LISTS)}; {hint}"
        )
    content = path.read_bytes()
    try:
        lines = [line.strip() for line in split_lines(content.decode("utf-8-sig"))]
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; expected one label a line") from None
    labels = [line for line in lines if line and not line.startswith("#")]
    if not labels:
        raise UserError(f"{path}: no labels; expected one a line")
    twice = [label for label, times in Counter(labels).items() if times > 1]
    if twice:
        raise UserError(f"{path}: {len(twice)} labels occur more than once, first {twice[0]!r}; keep one of each")
    return ClassSubset(labels, source, hashlib.sha256(content).hexdigest())


def _shipped(name: str) -> Path:
    """A list inside the installed timm, found without importing it."""
    spec = find_spec("timm")
    if spec is None or spec.origin is None:
        raise UserError("classes: ImageNet's lists come with timm, which is not installed; pip install timm")
    return Path(spec.origin).parent / "data" / "_info" / name
