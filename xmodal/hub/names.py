"""Names on the hub: OWNER/NAME, and `hf-hub:OWNER/NAME[@REVISION]` as a model's name. Imports nothing heavy."""

import re
from typing import NamedTuple

from xmodal.errors import UserError

HUB = "hf-hub:"
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_]|[-.](?![-.]))*(?<![-.])"
_REPOSITORY = re.compile(f"{_PART}/{_PART}")
_REVISION = re.compile(r"[A-Za-z0-9_][\w./-]*")


class HubName(NamedTuple):
    """A model on the hub."""

    repository: str  # OWNER/NAME
    revision: str | None  # a branch, tag or commit; None: main

    def __str__(self) -> str:
        return HUB + self.repository + (f"@{self.revision}" if self.revision else "")


def hub_name(model: str, revision: str | None = None) -> HubName:
    """The parts of `hf-hub:OWNER/NAME[@REVISION]`.

    Args:
        model: the name.
        revision: in place of one in the name.

    Raises:
        UserError: no such name, no such form of a revision, or two different ones.

    Example:
        hub_name("hf-hub:jo/spoken@v2")  # HubName("jo/spoken", "v2")
    """
    repository, at, named = model.removeprefix(HUB).partition("@")
    require_repository(repository, model)
    if revision and at and named != revision:
        raise UserError(f"{model}: revision {revision!r} is given beside the one in the name; name one of them")
    asked = revision or named
    if (at or revision is not None) and (not _REVISION.fullmatch(asked) or ".." in asked):
        raise UserError(f"{model}: revision {asked!r}: expected a branch, a tag or a commit, as main or v1.0")
    return HubName(repository, asked or None)


def require_repository(repository: str, typed: str | None = None) -> None:
    """Raise `UserError` for what cannot be OWNER/NAME; `typed` is what the error shows."""
    if not _REPOSITORY.fullmatch(repository) or len(repository) > 96 or repository.endswith(".git"):
        raise UserError(
            f"{typed or repository}: expected OWNER/NAME on the hub, of letters, digits, -, _ and . (96 at most), "
            "as jo/spoken-intents"
        )
