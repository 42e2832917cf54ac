"""xmodal: align a trainable tower of one modality with a frozen tower of another, and measure it zero-shot."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xmodal.encoding.encoder import Encoder
    from xmodal.encoding.loading import load
    from xmodal.hub.push import push

__all__ = ["Encoder", "load", "push"]
__version__ = "0.3.0"


def __getattr__(name: str) -> Any:
    # late, so that reading a config needs no torch
    if name == "push":
        from xmodal.hub import push

        return push.push
    if name in __all__:
        from xmodal.encoding import loading

        return getattr(loading, name)
    raise AttributeError(f"module 'xmodal' has no attribute {name!r}")
