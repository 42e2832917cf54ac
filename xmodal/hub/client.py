"""The hub's client, which says that it is xmodal that asks."""

from typing import TYPE_CHECKING

from xmodal.provenance import versions

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def hub_client() -> "HfApi":
    """Of the hub that HF_ENDPOINT names, with the token of HF_TOKEN or `hf auth login`."""
    from huggingface_hub import HfApi  # late: a run on the disk needs none of it

    return HfApi(library_name="xmodal", library_version=own_version())


def own_version() -> str:
    """xmodal's version, as it is installed."""
    return versions().get("xmodal", "unknown")
