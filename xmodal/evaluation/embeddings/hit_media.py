"""Pictures and sounds of hits for a page that needs nothing else, within a limit of bytes.

Only what lies below the folder that was embedded is read, whatever the embeddings file says.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from xmodal.data.sources.tar_address import file_of
from xmodal.errors import UserError
from xmodal.evaluation.embeddings.export import EmbeddedItems
from xmodal.evaluation.shown import Shown, shown
from xmodal.evaluation.test_sets.item_sources import item_source

SIDE = 360  # pixels, the longer side of a picture
MOST_OF_PAGE = 30 * 2**20  # bytes of all pictures and recordings on a page
OUTSIDE, GONE, NO_ROOM = "outside the folder that was embedded", "gone or broken", "no room on the page"


@dataclass
class Budget:
    """How many bytes a page may still hold, and what was left out of it, by reason."""

    left: int = MOST_OF_PAGE
    left_out: Counter[str] = field(default_factory=Counter)

    def take(self, found: Shown | str) -> Shown | None:
        """A picture or recording that has room; None of another one, and of what a reason stands for: it is counted."""
        if isinstance(found, Shown) and len(found.data) <= self.left:
            self.left -= len(found.data)
            return found
        self.left_out[found if isinstance(found, str) else NO_ROOM] += 1
        return None

    def line(self) -> str:
        """What was left out, and why; "" where nothing was."""
        if not self.left_out:
            return ""
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in self.left_out.most_common())
        return f"pictures or recordings that are not on the page: {reasons}"


def shown_folder(path: Path, embedded: EmbeddedItems) -> Path:
    """The folder whose pictures and recordings a page of hits may hold, as the embeddings file at `path` names it.

    Raises:
        UserError: it is the whole disk.
    """
    root = Path(embedded.info["root"]).resolve()
    if embedded.kind != "text" and root == Path(root.anchor):
        raise UserError(
            f"{path}: made over {root}, so a page could show what lies anywhere on the disk; embed a smaller folder"
        )
    return root


def inside(value: str | None, root: Path) -> str | Path | None:
    """Where an item is; None of one outside the folder, by its path or by a link.

    Example:
        inside("../secret.png", Path("photos"))  # None
    """
    if value is None:
        return None
    source = item_source(value, root)
    if isinstance(source, bytes):
        return None
    file = Path(file_of(source)) if isinstance(source, str) else source
    return source if file.resolve().is_relative_to(root.resolve()) else None


def hit_medium(kind: str, value: str | None, root: Path) -> Shown | str:
    """The picture or recording of an item, or why there is none."""
    source = inside(value, root)
    return OUTSIDE if source is None else shown(kind, source, SIDE) or GONE
