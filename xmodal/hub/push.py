"""Send a run to the hub: one commit, of what the hub does not have yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmodal.errors import UserError
from xmodal.hub.benchmarks import FOLDER, is_own_result
from xmodal.hub.card import is_own_card
from xmodal.hub.client import hub_client, own_version
from xmodal.hub.contents import SentFile
from xmodal.hub.failures import LOGIN, failure, failures, told_in_one_line
from xmodal.hub.fetch import FILES, TOWERS
from xmodal.hub.plan import CARD, Plan, plan_push
from xmodal.hub.request import CardRequest

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

_MADE_WITH_IT = {".gitattributes"}  # what a repository has that nobody wrote to


@dataclass(frozen=True)
class Pushed:
    """What was sent, or would be.

    url: of the model's page.
    commit: None where nothing was sent: a dry run, or nothing new.
    sent, unchanged: files; `unchanged` are on the hub already, with the same content.
    removed: paths of an earlier push that the run has no more.
    notes: what its owner should know.
    """

    url: str
    commit: str | None
    sent: list[SentFile]
    unchanged: list[SentFile]
    removed: list[str]
    notes: list[str]


def push(
    run: str | Path,
    repository: str,
    *,
    license: str,
    language: Sequence[str] = (),
    datasets: Sequence[str] = (),
    base_models: Mapping[str, str] | None = None,
    benchmarks: Mapping[str, str] | None = None,
    private: bool = False,
    update: bool = False,
    replace_card: bool = False,
    dry_run: bool = False,
) -> Pushed:
    """Put a run on the hub, with a model card: `xmodal.load("hf-hub:OWNER/NAME")` is the same encoder.

    Sent are its config, kept weights and towers; of the report the numbers and notes, in the card. What the hub has
    already is not sent again. All of it is one commit: a push that fails leaves the repository as it was.

    Args:
        run: folder of a run whose training has ended.
        repository: OWNER/NAME.
        license: as the hub calls it (apache-2.0, mit, ...).
        language: ISO 639 codes.
        datasets: data sets of the hub that it was trained on; one that its config names as hub:NAME is known.
        base_models: side -> OWNER/NAME, where the config names a folder or a package.
        benchmarks: DATASET/METRIC of the report -> OWNER/DATASET[:TASK], for the leaderboard of that benchmark.
        private: of a new repository.
        update: replace a run that is there.
        replace_card: also where somebody edited the card.
        dry_run: send nothing.

    Raises:
        UserError: an unfinished run, no licence, no token, no network, a name that is taken, no permission.

    Example:
        xmodal.push("runs/mine", "jo/spoken-intents", license="apache-2.0", language=["en"])
    """
    request = CardRequest(license, tuple(language), tuple(datasets), dict(base_models or {}), dict(benchmarks or {}))
    return send(plan_push(Path(run), repository, request), private, update, replace_card, dry_run)


def send(
    plan: Plan, private: bool = False, update: bool = False, replace_card: bool = False, dry_run: bool = False
) -> Pushed:
    """Send a plan; see `push`. A dry run asks the hub what it has, where that can be, and goes on without."""
    import huggingface_hub

    name, notes = plan.repository, list(plan.notes)
    if not dry_run and huggingface_hub.get_token() is None:
        raise UserError(f"{name}: no token for the hub; {LOGIN}")
    api = hub_client()
    url = f"{api.endpoint}/{name}"
    try:
        head, there = _on_hub(api, name)
    except failures() as error:
        if not dry_run:
            raise failure(error, name, "write") from error
        notes.append(f"what the hub has was not compared: {failure(error, name, 'read')}")
        return Pushed(url, None, plan.files, [], [], notes)
    _require_free(name, there, update)
    files = plan.files
    if CARD in there and not replace_card and not _is_ours(api, name, plan, there[CARD], head):
        files = [file for file in files if file.path != CARD]
        notes.append(f"{CARD} on the hub was edited, and stays; --replace-card puts the new one in its place")
    unchanged = [file for file in files if file.path in there and file.equals(there[file.path])]
    sent = [file for file in files if file not in unchanged]
    paths = {file.path for file in plan.files}
    removed = [path for path in there if path not in paths and (path in FILES or path.startswith(f"{TOWERS}/"))]
    for path in sorted(path for path in there if path not in paths and _is_result(path)):
        if is_own_result(_text(api, name, path, head)):
            removed.append(path)
        else:
            notes.append(
                f"{path} on the hub is not xmodal's, and stays: leaderboards show its number for these weights"
            )
    if dry_run or not (sent or removed):
        return Pushed(url, None, sent, unchanged, removed, notes)
    with told_in_one_line(name, "write"):
        if head is None:
            api.create_repo(name, private=private)
        commit = api.create_commit(
            name,
            [*_additions(sent), *(huggingface_hub.CommitOperationDelete(path) for path in removed)],
            commit_message=f"A run of xmodal {own_version()}",
            parent_commit=head,
        )
    return Pushed(url, commit.oid, sent, unchanged, removed, notes)


def _on_hub(api: "HfApi", name: str) -> tuple[str | None, dict[str, "RepoFile"]]:
    """The newest commit and the files of a repository; None and nothing where there is none that may be seen."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
    from huggingface_hub.hf_api import RepoFile

    try:
        head = api.model_info(name).sha
    except RepositoryNotFoundError as error:
        if isinstance(error, GatedRepoError):
            raise
        return None, {}
    entries = api.list_repo_tree(name, recursive=True, revision=head)
    return head, {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}


def _require_free(name: str, there: Mapping[str, Any], update: bool) -> None:
    """Raise `UserError` for a repository that holds something, unless it is a run that is to be replaced."""
    foreign = there.keys() - _MADE_WITH_IT
    if not foreign:
        return
    if not {"config.yaml", "model.safetensors"} <= foreign:
        raise UserError(
            f"{name}: the name is taken by what is no run of xmodal ({_some(foreign)}); choose another name"
        )
    if not update:
        raise UserError(
            f"{name}: the name is taken by a run; replace it with --update (update=True), or choose another"
        )


def _is_result(path: str) -> bool:
    return path.startswith(f"{FOLDER}/") and path.endswith((".yaml", ".yml"))


def _is_ours(api: "HfApi", name: str, plan: Plan, there: "RepoFile", head: str | None) -> bool:
    """Is the card on the hub the new one, or one that xmodal wrote and nobody changed?"""
    new = next(file for file in plan.files if file.path == CARD)
    if new.equals(there):
        return True
    return is_own_card(_text(api, name, CARD, head))


def _text(api: "HfApi", name: str, path: str, head: str | None) -> str:
    """A file on the hub."""
    with told_in_one_line(name, "read"):
        return Path(api.hf_hub_download(name, path, revision=head)).read_text(encoding="utf-8", errors="replace")


def _additions(files: Sequence[SentFile]) -> list[Any]:
    from huggingface_hub import CommitOperationAdd

    return [CommitOperationAdd(path_in_repo=file.path, path_or_fileobj=file.source) for file in files]


def _some(paths: set[str]) -> str:
    return ", ".join(sorted(paths)[:3])
