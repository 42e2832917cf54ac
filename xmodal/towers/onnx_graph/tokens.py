"""Texts as a graph takes them: the tokens of a tokenizer.json."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from xmodal.errors import UserError
from xmodal.files import write_text
from xmodal.processor import Processor
from xmodal.towers.text_length import cut_of, surely_fits

FILE = "tokenizer.json"


class TokenProcessor(Processor):
    """Text -> tokens, cut to a length.

    Args:
        folder: of tokenizer.json.
        max_length: tokens, special ones among them; default: what tokenizer.json says, else no limit.

    Raises:
        UserError: no tokenizer.json there, or one that cannot be read.
    """

    kind: Literal["text"] = "text"

    def __init__(self, folder: Path, max_length: int | None = None):
        path = folder.expanduser() / FILE
        try:
            self.tokenizer, self.whole = (Tokenizer.from_file(str(path)) for _ in range(2))
        except Exception as error:  # the library raises nothing narrower
            found = " ".join(str(error).split())[:200] if path.is_file() else "no such file"
            raise UserError(
                f"{path}: cannot be read as a tokenizer ({found}); set tokenizer to the folder of the model's {FILE}"
            ) from error
        own = (self.tokenizer.truncation or {}).get("max_length")
        self.max_length: int | None = max_length or own
        self.whole.no_truncation()
        for each in (self.tokenizer, self.whole):
            each.no_padding()
        if self.max_length is not None:
            self.tokenizer.enable_truncation(self.max_length)

    def features(self, item: str) -> np.ndarray:
        """Tokens of one text [T] int64, one at least."""
        return np.asarray(self.tokenizer.encode(item).ids or [0], np.int64)

    def cut(self, item: str) -> str | None:
        """A text of more tokens than `max_length`."""
        if self.max_length is None or surely_fits(item, self.max_length):
            return None
        return cut_of(len(self.whole.encode(item).ids), self.max_length)

    def collate(self, features: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """`{"values": [B, T] int64, "lengths": [B] tokens}`."""
        lengths = torch.tensor([len(x) for x in features])
        values = torch.zeros(len(features), int(lengths.max()), dtype=torch.int64)
        for row, x in zip(values, features, strict=True):
            row[: len(x)] = torch.from_numpy(x)
        return {"values": values, "lengths": lengths}

    def describe(self) -> dict[str, Any]:
        """The tokenizer (as a hash), and the length."""
        digest = hashlib.sha256(self.whole.to_str().encode()).hexdigest()[:16]
        return {"kind": "tokenizer_json", "tokenizer": digest, "max_length": self.max_length}

    def save(self, folder: Path) -> None:
        """Write tokenizer.json, with this length."""
        write_text(folder / FILE, self.tokenizer.to_str())
