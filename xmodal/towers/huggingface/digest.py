"""The file of a model's weights against the sha256 that a config trusts."""

import hashlib

from xmodal.errors import UserError
from xmodal.towers.huggingface.source import Source


def require_digest(source: Source, name: str, sha256: str | None) -> None:
    """Nothing where the file `name` of the model has that sha256, or none is asked for.

    Raises:
        UserError: it has another one; or the model has no such file.
    """
    if sha256 is None:
        return
    path = source.file(name)
    if path is None:
        raise UserError(
            f"tower {source.name!r}: sha256: {source.location} keeps its weights not in one file {name}; leave it out"
        )
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise UserError(
            f"tower {source.name!r}: {path} has sha256 {found}, expected {sha256}: it is not the file that is trusted; "
            "get that one, or correct sha256"
        )
