"""One process trains into a run folder at a time.

The lock is the folder's own (`flock`): nothing is written, and it goes with the process that holds it, however that
ends. Where a file system has no locks there is none.
"""

import errno
import fcntl
import os
from pathlib import Path

from xmodal.errors import UserError

_HELD: dict[str, int] = {}  # real path -> the descriptor that holds it, of this process
_TAKEN = (errno.EAGAIN, errno.EACCES)


def hold(folder: Path) -> None:
    """Keep others from training into a folder that is there, until `release`; twice by one process is once.

    Raises:
        UserError: another process trains there.
    """
    name = os.path.realpath(folder)
    if name in _HELD:
        return
    descriptor = os.open(name, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno not in _TAKEN:
            return
        raise UserError(
            f"{folder}: another process trains there, one of an earlier call perhaps; wait until it ends, or stop it"
        ) from None
    _HELD[name] = descriptor


def release(folder: Path) -> None:
    """Let others train there; of a folder that is not held nothing happens."""
    descriptor = _HELD.pop(os.path.realpath(folder), None)
    if descriptor is not None:
        os.close(descriptor)


def require_idle(folder: Path) -> None:
    """Raise `UserError` where another process trains into the folder."""
    if folder.is_dir() and os.path.realpath(folder) not in _HELD:
        hold(folder)
        release(folder)
