"""What goes wrong between here and the hub, in one line each with the way out."""

from collections.abc import Iterator
from contextlib import contextmanager

from xmodal.errors import UserError

LOGIN = "log in with `hf auth login`, or set HF_TOKEN"


@contextmanager
def told_in_one_line(name: str, doing: str) -> Iterator[None]:
    """Turn every failure of `huggingface_hub` inside the block into a `UserError`.

    Args:
        name: the model, as the user wrote it.
        doing: what was tried, as in "read" or "write".

    Example:
        with told_in_one_line("jo/spoken", "write"):
            api.create_repo("jo/spoken")
    """
    try:
        yield
    except UserError:
        raise
    except failures() as error:
        raise failure(error, name, doing) from error


def failures() -> tuple[type[Exception], ...]:
    """The exceptions by which `huggingface_hub` says that something did not work."""
    from huggingface_hub import errors  # late: a model on the disk needs none of it

    # ValueError: a name or metadata that the hub refuses; RuntimeError: a file that could not be sent
    return (http_error(), errors.EntryNotFoundError, OSError, ValueError, RuntimeError)


def http_error() -> type[Exception]:
    """What all errors of the hub's HTTP library derive from: httpx, or in later versions httpx2."""
    from huggingface_hub.errors import HfHubHTTPError

    found: type[Exception] = HfHubHTTPError.__mro__[1]
    return found


def failure(error: Exception, name: str, doing: str) -> UserError:
    """The line for one of `failures()`."""
    from huggingface_hub import errors

    if isinstance(error, RuntimeError) and isinstance(error.__cause__, (http_error(), OSError)):
        return failure(error.__cause__, name, doing)
    page = f"https://huggingface.co/{name.removeprefix('hf-hub:').partition('@')[0]}"
    if isinstance(error, errors.LocalTokenNotFoundError):
        return UserError(f"{name}: no token for the hub; {LOGIN}")
    if isinstance(error, errors.GatedRepoError):
        return UserError(f"{name}: is gated; ask for access at {page}, then {LOGIN}")
    if isinstance(error, errors.RevisionNotFoundError):
        return UserError(f"{name}: the hub has no such revision; see {page}/tree/main, or leave it out")
    if isinstance(error, errors.RepositoryNotFoundError):
        return UserError(f"{name}: no such model on the hub, or one that you may not see; check the name, or {LOGIN}")
    if isinstance(error, errors.HfHubHTTPError):
        return _refused(error.response.status_code, error.server_message or str(error), name, doing)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return UserError(f"{name}: HF_HUB_OFFLINE is set, and to {doing} it the hub is needed; unset it")
    if isinstance(error, errors.LocalEntryNotFoundError):
        return UserError(f"{name}: not whole in the hub's cache, and the hub cannot be reached; connect once to get it")
    if isinstance(error, (http_error(), ConnectionError, TimeoutError)):
        reason = _short(error)
        return UserError(f"{name}: the hub cannot be reached to {doing} it ({reason}); check the connection")
    return UserError(f"{name}: could not {doing} it ({_short(error)}); mend that, and try again")


def _refused(status: int, said: str, name: str, doing: str) -> UserError:
    reason = " ".join(said.split())[:200]
    if status == 401:
        return UserError(f"{name}: the hub does not know the token (401); {LOGIN}")
    if status == 403:
        return UserError(
            f"{name}: the hub forbids to {doing} it (403: {reason}); take a token that may (hf auth login), or a name "
            "of your own"
        )
    if status == 409:
        return UserError(f"{name}: the name is taken (409: {reason}); choose another one")
    if status == 412:
        return UserError(f"{name}: was changed by somebody else meanwhile; look at it, and push again")
    return UserError(f"{name}: the hub answers {status} ({reason}); try again later")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
