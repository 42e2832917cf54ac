"""Pictures and sounds of hits for a page that needs nothing else: small copies, within a limit of bytes.

Only what lies below the folder that was embedded is read, whatever the embeddings file says.
"""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from xmodal.data.audio import AudioError
from xmodal.data.image import ImageError, read_image
from xmodal.data.sources.audio_bytes import member_bytes
from xmodal.data.sources.tar_address import file_of, member_of
from xmodal.errors import UserError
from xmodal.evaluation.embeddings.export import EmbeddedItems
from xmodal.evaluation.test_sets.item_sources import item_source

THUMBNAIL = (360, 360)  # pixels, the largest picture on the page
MOST_OF_SOUND = 2**20  # bytes of one recording
MOST_OF_PAGE = 30 * 2**20  # bytes of all pictures and recordings on a page
PLAYED = {  # beginning of a file -> its type, for a browser
    b"RIFF": "audio/wav", b"fLaC": "audio/flac", b"OggS": "audio/ogg", b"ID3": "audio/mpeg", b"\xff\xfb": "audio/mpeg",
    b"\xff\xf3": "audio/mpeg", b"\xff\xf2": "audio/mpeg",
}  # fmt: skip


@dataclass
class Budget:
    """How many bytes a page may still hold, and what was left out of it."""

    left: int = MOST_OF_PAGE
    left_out: int = 0

    def take(self, data: bytes | None) -> str | None:
        """The bytes in base64; None of what is not there or has no room, which is counted."""
        if data is None or len(data) > self.left:
            self.left_out += 1
            return None
        self.left -= len(data)
        return base64.b64encode(data).decode("ascii")


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


def thumbnail(source: str | Path | bytes) -> str | None:
    """A small JPEG in base64; None for an image that is gone or broken."""
    made = small_jpeg(source)
    return None if made is None else base64.b64encode(made).decode("ascii")


def small_jpeg(source: str | Path | bytes) -> bytes | None:
    """The bytes of a small copy; None for an image that is gone or broken."""
    try:
        image = read_image(source)
    except ImageError:
        return None
    image.thumbnail(THUMBNAIL)
    small = io.BytesIO()
    image.save(small, format="JPEG", quality=85)
    return small.getvalue()


def sound_bytes(source: str | Path) -> tuple[bytes, str] | None:
    """A recording as it lies there and its type; None where it is gone, too large, or nothing that browsers play."""
    member = member_of(str(source))
    try:
        if member is not None:
            data = member_bytes(None, str(source)) if member.size <= MOST_OF_SOUND else b""
        else:
            with Path(source).open("rb") as file:
                data = file.read(MOST_OF_SOUND + 1)
    except (AudioError, OSError):
        return None
    played = next((kind for start, kind in PLAYED.items() if data.startswith(start)), None)
    return None if played is None or len(data) > MOST_OF_SOUND else (data, played)
