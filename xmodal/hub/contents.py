"""The files of a run that go to the hub: what loading it needs, without the paths of this machine."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmodal.config.yaml_text import read_yaml, write_yaml
from xmodal.errors import UserError
from xmodal.files import files_under, read_json, read_json_lines
from xmodal.hub.fetch import FILES, TOWERS
from xmodal.hub.safety import ONES_OWN, require_safe_files
from xmodal.runs.folder import read_run
from xmodal.runs.weights import FILE

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

CONFIG, TRAINING = "config.yaml", "training.json"
_HOLDS = {TRAINING: dict, "versions.json": dict, "labels.json": list, "threshold.json": dict}
_NAME = r"[^\s/:;,'\"()\[\]<>|]"  # a character of a name in a path
_WORD = r"[^\s/.:;,'\"()\[\]<>|]+"  # of a folder's name with spaces: with a dot it is rather a file, and text behind it
_FOLDER = rf"(?:{_WORD}(?: {_WORD})+|{_NAME}+)/"
# a path of two parts or more inside a text; none of them are https://a/b, data/x, n/a
_PATH = re.compile(rf"(?<![\w/.~-])(?:file://)?(?:~/(?:{_FOLDER})*{_NAME}+/?|/(?:{_FOLDER})+{_NAME}*)")


@dataclass(frozen=True)
class SentFile:
    """A file of the repository: its path there, and where its bytes are: on this disk, or here."""

    path: str
    source: Path | bytes

    @cached_property
    def size(self) -> int:
        """Bytes."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size

    def equals(self, there: "RepoFile") -> bool:
        """Has the hub this very content? It says the sha256 of large files, and git's sha1 of the others."""
        if self.size != (there.lfs.size if there.lfs else there.size):
            return False
        return self._digest("sha256") == there.lfs.sha256 if there.lfs else self._digest("sha1") == there.blob_id

    def _digest(self, algorithm: str) -> str:
        start = f"blob {self.size}\0".encode() if algorithm == "sha1" else b""
        digest = hashlib.new(algorithm, start, usedforsecurity=False)
        if isinstance(self.source, bytes):
            digest.update(self.source)
        else:
            with self.source.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()


def run_files(run: Path) -> tuple[list[SentFile], int]:
    """What is sent of a run folder, and how many paths of this machine were cut to their last part.

    Checkpoints, logs, stores and the report's pages stay here: a report shows items of the tests.

    Raises:
        UserError: training has not ended; a pickle in the folder of a tower; a link that leads out of the run folder; a
            file that holds another thing than xmodal writes into it.
    """
    if not (run / FILE).is_file() or not (run / TRAINING).is_file():
        raise UserError(f"{run}: training has not ended; finish it with train.resume=true, then push it")
    towers = [file for file in files_under(run / TOWERS) if file.suffix != ".tmp"] if (run / TOWERS).is_dir() else []
    names = {file.relative_to(run).as_posix(): file for file in towers}
    _require_own([*(run / name for name in FILES), *towers], run)
    require_safe_files(names, str(run), trust_remote_code=True, way_out=ONES_OWN)
    files, count = [], 0
    for name, path in [*((name, run / name) for name in FILES), *names.items()]:
        if not path.is_file():
            continue
        if name in FILES:
            _require_form(path)
        if name in (CONFIG, TRAINING) or (path.name == CONFIG and _is_of_run(path)):
            text, cut = _public(path)
            files.append(SentFile(name, text.encode()))
            count += cut
        else:
            files.append(SentFile(name, path))
    return files, count


def _is_of_run(config: Path) -> bool:
    """Does a config.yaml in a tower's folder say how another run made that tower?"""
    try:
        read_run(config.parent)
    except UserError:
        return False
    return True


def _require_own(files: Sequence[Path], run: Path) -> None:
    """Raise `UserError` where one of the files is a link to what lies outside the run folder, or to nothing."""
    root = run.resolve()
    if root.parent.name == "snapshots":  # the hub's cache: its files are links into a folder beside all snapshots
        root = root.parents[1]
    for file in files:
        target = file.resolve()
        if target.is_relative_to(root) and (target.exists() or not file.is_symlink()):
            continue
        found = "a link to nothing" if not target.exists() else "a link that leads out of the run folder"
        raise UserError(f"{file}: {found} ({target}), which is not sent; put the file itself there, or remove the link")


def _require_form(path: Path) -> None:
    """Raise `UserError` where a JSON file of a run holds another thing than xmodal writes into it."""
    if path.suffix == ".jsonl":
        read_json_lines(path, "restore it, or remove it")
    expected = _HOLDS.get(path.name)
    if expected is not None and not isinstance(found := read_json(path), expected):
        raise UserError(
            f"{path}: holds a {type(found).__name__}, expected a {expected.__name__}; restore it, or train again"
        )


def _public(path: Path) -> tuple[str, int]:
    """A config without its trackers' options, or JSON; absolute paths are cut to their last part, and counted."""
    if path.suffix == ".json":
        value, count = without_paths(read_json(path))
        return json.dumps(value, indent=2) + "\n", count
    value, count = without_paths(read_yaml(path.read_text(encoding="utf-8")))
    train = value.get("train")
    if isinstance(train, dict):
        train.pop("tracker_options", None)  # a tracker's login may be among them
    return write_yaml(value), count


def without_paths(value: Any) -> tuple[Any, int]:
    """A value in which absolute paths are their last part: whoever downloads it need not know this machine's folders.

    So are paths inside a text, of two parts or more, as the `/home/jo/x.wav` of "row 3: /home/jo/x.wav: broken".

    Example:
        without_paths({"train": "/home/jo/data/train.jsonl"})  # ({"train": "train.jsonl"}, 1)
    """
    if isinstance(value, str):
        first, colon, rest = value.partition(": ")
        if first.startswith(("/", "~/")) and "\n" not in first:
            rest, count = without_paths(rest)
            return f"{Path(first).name}{colon}{rest}", 1 + count
        return _PATH.subn(lambda found: Path(found[0]).name, value)
    if isinstance(value, Mapping):
        found = {key: without_paths(each) for key, each in value.items()}
        return {key: each for key, (each, _) in found.items()}, sum(count for _, count in found.values())
    if isinstance(value, list):
        parts = [without_paths(each) for each in value]
        return [each for each, _ in parts], sum(count for _, count in parts)
    return value, 0
