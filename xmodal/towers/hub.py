"""Files of the Hugging Face hub, for the libraries that do not look them up as safetensors themselves."""

from pathlib import Path

from xmodal.errors import UserError


def hub_file(name: str, repository: str, file: str, absent: str, revision: str | None = None) -> Path:
    """A file of a hub repository, from the cache or the hub.

    Args:
        name: of the tower, as the config says it.
        repository: OWNER/MODEL.
        file: in it.
        absent: the way out where the repository has no such file.
        revision: of the repository.

    Raises:
        UserError: there is no such file, or nobody can say.
    """
    import huggingface_hub  # late: a local model needs none of it

    try:
        return Path(huggingface_hub.hf_hub_download(repository, file, revision=revision))
    except (OSError, ValueError) as error:
        unreachable = isinstance(error, huggingface_hub.errors.LocalEntryNotFoundError)
        if isinstance(error, huggingface_hub.errors.EntryNotFoundError) and not unreachable:
            raise UserError(f"tower {name!r}: {repository} on the hub has no {file}; {absent}") from error
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"tower {name!r}: {file} of {repository} is neither in the hub's cache nor can the hub give it ({reason}); "
            "check the spelling and the connection, or name a local file or folder"
        ) from error
