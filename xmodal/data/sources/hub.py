"""Data sets of the hub, through the `datasets` library: `hub:NAME[@REVISION][:SPLIT]`."""

from pathlib import Path

import pyarrow as pa

from xmodal.data.sources.tables import named_labels
from xmodal.errors import UserError


def read_hub(name: str) -> pa.Table:
    """`NAME[@REVISION][:SPLIT]` through `datasets.load_dataset`, memory-mapped; NAME may be a local folder.

    Raises:
        UserError: it cannot be had.
    """
    import datasets  # late, see `tables.py`

    try:
        found = datasets.load_dataset(**hub_parts(name))
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise UserError(f"hub:{name}: {reason}; check name, split and connection") from error
    return named_labels(found.data.table, found.features)


def hub_parts(name: str) -> dict[str, str | None]:
    """`NAME[@REVISION][:SPLIT]` as arguments of `datasets.load_dataset`; a local folder's name may hold an @.

    Raises:
        UserError: no name.

    Example:
        hub_parts("cifar10:test")  # {"path": "cifar10", "revision": None, "split": "test"}
    """
    rest, _, split = name.partition(":")
    repository, _, revision = (rest, "", "") if Path(rest).is_dir() else rest.partition("@")
    if not repository:
        raise UserError(f"hub:{name}: names no data set; expected hub:NAME[@REVISION][:SPLIT]")
    return {"path": repository, "revision": revision or None, "split": split or "train"}
