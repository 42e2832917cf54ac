"""Hides a torchaudio that does not import, once, when this module is imported: before transformers or peft are.

torchaudio fits one version of torch. xmodal does not use it, but transformers imports it where it is installed, and
with it most of its models; one that was left behind by an upgrade of torch would stop every transformers tower.
Without it, the log-mel features of the Audio Spectrogram Transformer come from transformers itself; they differ by
less than 1e-4.
"""

import importlib
import importlib.util
import sys
import warnings


def hide_broken_torchaudio() -> None:
    """Where torchaudio is installed and raises on import: make it look as if it were not installed, and warn."""
    if "torchaudio" in sys.modules or importlib.util.find_spec("torchaudio") is None:
        return
    try:
        importlib.import_module("torchaudio")
    except Exception as error:  # OSError, ImportError, RuntimeError, AttributeError: all seen, none documented
        sys.modules["torchaudio"] = None  # type: ignore[assignment]  # Python's own mark of what cannot be imported
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        warnings.warn(f"torchaudio does not import, so transformers goes on without it ({reason})", stacklevel=2)


hide_broken_torchaudio()
