"""Texts and the model behind them, called by hand."""

from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

WORDS = [
    "turn",
    "on",
    "off",
    "the",
    "lights",
    "play",
    "some",
    "music",
    "stop",
    "it",
    "now",
    "red",
    "blue",
    "alarm",
    "call",
]


def some_texts(n: int) -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, rng.integers(1, 20))) for _ in range(n)]


def by_hand(folder: Path, text: str) -> torch.Tensor:
    """Mean of the last hidden states of one text, without any padding."""
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
