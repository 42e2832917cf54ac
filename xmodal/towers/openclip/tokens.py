"""Texts as open_clip's models take them: its own tokenizer, or one of `transformers`."""

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from torch import Tensor

from xmodal.errors import UserError
from xmodal.processor import Processor
from xmodal.towers.kinds.open_clip import OpenCLIPTower
from xmodal.towers.openclip.source import CONFIG, OpenCLIPSource
from xmodal.towers.text_length import cut_of, surely_fits

TOKENIZER_OPTIONS = {"clean", "strip_sep_token", "language"}  # open_clip's own


class TokenProcessor(Processor):
    """Text -> the model's tokens, always `context_length` of them.

    Args:
        tokenizer: open_clip's, for this model.
    """

    kind: Literal["text"] = "text"

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer

    def features(self, item: str) -> np.ndarray:
        """Tokens of one text [context_length] int64."""
        return self.tokenizer([item])[0].numpy()

    def cut(self, item: str) -> str | None:
        """A text of more tokens than `context_length`."""
        most = self.tokenizer.context_length
        text = self.tokenizer.clean_fn(item)
        if surely_fits(text, most):
            return None
        inner = getattr(self.tokenizer, "tokenizer", None)
        if inner is None:
            return cut_of(len(self.tokenizer.encode(text)) + 2, most)  # with its start and end
        clips = self.tokenizer.tokenizer_mode == "clips"  # start, end and class token are added by open_clip itself
        return cut_of(len(inner(text, add_special_tokens=not clips, verbose=False)["input_ids"]) + 3 * clips, most)

    def collate(self, features: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """`{"tokens": [B, context_length]}`."""
        return {"tokens": torch.from_numpy(np.stack(features))}

    def describe(self) -> dict[str, Any]:
        """Vocabulary (as a hash), length, and how the text is cleaned."""
        inner = getattr(self.tokenizer, "tokenizer", None)
        vocabulary = sorted((inner.get_vocab() if inner is not None else self.tokenizer.encoder).items())
        return {
            "kind": "open_clip_text",
            "vocabulary": hashlib.sha256(repr(vocabulary).encode()).hexdigest()[:16],
            "context_length": self.tokenizer.context_length,
            "clean": self.tokenizer.clean_fn.__name__,
            "mode": getattr(self.tokenizer, "tokenizer_mode", ""),
        }


def tokenizer(spec: OpenCLIPTower.Spec, source: OpenCLIPSource) -> Any:
    """The model's own tokenizer.

    Raises:
        UserError: a `transformers` tokenizer whose files are neither in the folder nor in the hub's cache.
    """
    text = source.model["text_cfg"]
    length, options = text.get("context_length", 77), text.get("tokenizer_kwargs") or {}
    foreign = sorted(options.keys() - TOKENIZER_OPTIONS)
    if foreign:  # they would reach `transformers`, which runs a folder's code where it is told to trust it
        raise UserError(
            f"tower {spec.name!r}: its config's tokenizer_kwargs hold {foreign[0]!r}, expected none but "
            f"{', '.join(sorted(TOKENIZER_OPTIONS))}; take it out of {CONFIG} if you trust the rest"
        )
    name = text.get("hf_tokenizer_name")
    if not name:
        return SimpleTokenizer(context_length=length, **options)
    place = str(source.folder) if source.folder is not None and source.has_tokenizer else name
    try:
        return HFTokenizer(place, context_length=length, tokenizer_mode=text.get("tokenizer_mode"), **options)
    except (OSError, ValueError, ImportError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"tower {spec.name!r}: its tokenizer {place!r} is neither a folder here nor one that the hub's cache or "
            f"the hub gives ({reason}); put the tokenizer's files beside {CONFIG}, or check the connection"
        ) from error
