"""A run on the hub as a folder on this disk: from the net, or from the cache where the net is away."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xmodal.config.kinds import TOWERS as KINDS
from xmodal.errors import UserError
from xmodal.files import files_under
from xmodal.hub.client import hub_client
from xmodal.hub.failures import failure, failures, told_in_one_line
from xmodal.hub.names import HUB, HubName
from xmodal.hub.safety import require_safe_files, require_safe_names
from xmodal.runs.folder import read_run
from xmodal.towers.kind import OwnTower

log = logging.getLogger(__name__)

FILES = (
    "config.yaml", "model.safetensors", "versions.json", "training.json", "labels.json", "sets.jsonl", "threshold.json",
)  # fmt: skip
TOWERS = "towers"  # and all that is in it
_WANTED = [*FILES, f"{TOWERS}/*"]  # the hub's patterns: * goes through slashes, too


def fetch_run(name: HubName, trust_remote_code: bool = False) -> Path:
    """The folder, in the hub's cache, with a run's config, weights and towers; nothing else is fetched.

    The names of the files are looked at first. Where the hub gives no answer, or a refusal, what the cache has of this
    revision is used, and a warning says so.

    Args:
        name: of the model, and its revision.
        trust_remote_code: take folders that hold code.

    Raises:
        UserError: no such model or revision, a private or a gated one, no network and nothing in the cache, no run of
            xmodal, pickles, code that is not trusted.

    Example:
        fetch_run(hub_name("hf-hub:jo/spoken@v2"))
    """
    from huggingface_hub.errors import OfflineModeIsEnabled, RevisionNotFoundError

    api, where = hub_client(), str(name)
    try:
        info = api.model_info(name.repository, revision=name.revision)
    except RevisionNotFoundError as error:
        raise failure(error, where, "read") from error
    except failures() as error:
        folder = _cached(name)
        if folder is None:
            raise failure(error, where, "read") from error
        if not isinstance(error, OfflineModeIsEnabled):  # who sets it knows
            status = getattr(getattr(error, "response", None), "status_code", 0)
            said = f"refused it ({status})" if 400 <= status < 500 else f"gave no answer ({type(error).__name__})"
            log.warning("%s: the hub %s; the copy in its cache is used", where, said)
    else:
        names = [file.rfilename for file in info.siblings or []]
        _require_run(names, name)
        require_safe_names(names, where, trust_remote_code)
        with told_in_one_line(where, "read"):
            folder = Path(api.snapshot_download(name.repository, revision=name.revision, allow_patterns=_WANTED))
    _require_run([path.relative_to(folder).as_posix() for path in folder.iterdir()], name)
    files = {file.relative_to(folder).as_posix(): file for file in files_under(folder)}
    require_safe_files(files, where, trust_remote_code)
    return folder


def commit_of(folder: Path) -> str:
    """The commit whose files `fetch_run` gave: the cache names its folders by it."""
    return folder.name


def _cached(name: HubName) -> Path | None:
    """What the cache has of a revision; None where that is nothing, or not all of it."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = huggingface_hub.snapshot_download(
            name.repository, revision=name.revision, allow_patterns=_WANTED, local_files_only=True
        )
    except LocalEntryNotFoundError:
        return None
    folder = Path(found)
    if not all((folder / file).is_file() for file in FILES[:2]):
        return None
    towers = read_run(folder)["towers"]
    return folder if all((folder / TOWERS / side).is_dir() for side in towers if _has_files(towers[side])) else None


def _has_files(tower: Any) -> bool:
    """Does a run keep files of such a tower? Of one made by xmodal's code, only where it was locked."""
    if isinstance(tower, Mapping) and tower.get("kind") == "store":
        tower = tower.get("tower")
    kind = tower.get("kind") if isinstance(tower, Mapping) else None
    try:
        if not isinstance(kind, str) or not KINDS.is_own(kind):
            return False  # not known without code from outside
    except UserError:  # a name that some package added where it was trained
        return False
    return tower.get("mode") == "locked" or not issubclass(KINDS.find(kind), OwnTower)


def _require_run(names: list[str], name: HubName) -> None:
    lacking = [file for file in FILES[:2] if file not in names]
    if lacking:
        model = name.repository + (f"@{name.revision}" if name.revision else "")
        raise UserError(
            f"{name}: no run of xmodal ({lacking[0]} is missing); a model of another library is "
            f"open_clip:{HUB}{model} or transformers:{name.repository}"
        )
