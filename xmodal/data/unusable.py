"""Items that cannot be used: tolerated up to a share, then an error that names the first ones."""

from collections.abc import Sequence
from pathlib import Path

from xmodal.errors import UserError

Bad = tuple[str, str]  # an item's name, and why it cannot be used


def require_usable(manifest: Path, total: int, bad: Sequence[Bad], limit: float, key: str) -> None:
    """Raise `UserError` where `bad` are more than the share `limit` of `total` items, or all of them.

    `key` is the setting that holds the limit.
    """
    if total == 0 or len(bad) / total > limit or len(bad) == total:
        way_out = f"mend or remove them, or raise {key}"
        if len(bad) == total:
            way_out = "paths are taken from the manifest's folder"
        raise UserError(
            f"{manifest}: {len(bad)} of {total} items ({len(bad) / max(total, 1):.1%}) cannot be used, "
            f"the limit is {limit:.1%}; first: {listed(bad)}; {way_out}"
        )


def listed(bad: Sequence[Bad]) -> str:
    """The first three, for a message."""
    return ", ".join(f"{name} ({reason})" for name, reason in bad[:3]) + (", ..." if len(bad) > 3 else "")
