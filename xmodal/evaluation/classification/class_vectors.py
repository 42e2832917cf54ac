"""Classes as vectors, out of sentences about them. Input: sentences by class. Output: [C, D] unit norm."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from xmodal.encoding.encoder import Encoder


def class_vectors(encoder: Encoder, text: str, groups: Sequence[Sequence[str]]) -> Tensor:
    """One vector per group of sentences: encode, average, normalise -> [C, D]. Equal sentences are encoded once."""
    sentences = list(dict.fromkeys(s for group in groups for s in group))
    z = dict(zip(sentences, encoder.encode(text, sentences), strict=True))
    means = [torch.stack([z[s] for s in group]).mean(0) for group in groups]
    return normalize(torch.stack(means), dim=-1)
