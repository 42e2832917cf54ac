"""Kernels with the names by which `dense_reference.py` knows them, and item ids of which some are equal."""

from xmodal.config.kinds import KERNELS
from xmodal.objectives.kernels import Affine, Exp, Perplexity, Power, Threshold, TopK

N, D, G = 12, 6, 5
UNIQUE = (list(range(N)), list(range(N)))
SPEECH_TWICE = ([0, 0, *range(2, N)], list(range(N)))
TEXT_TWICE = (list(range(N)), [3, 3, 3, *range(3, N)])
BOTH = (SPEECH_TWICE[0], [*range(N - 3), 1, 2, 2])
CASES = {
    "affine": (Affine(), ("affine", 0.0)),
    "power": (Power(power=3), ("power", 3.0)),
    "exp": (Exp(temperature=0.2), ("exp", 0.2)),
    "softmax": (KERNELS.find("softmax")(kind="softmax", temperature=0.5), ("softmax", 0.5)),  # type: ignore[call-arg]
    "top_k": (TopK(k=4), ("top_k", 4)),
    "threshold": (Threshold(threshold=0.3), ("threshold", 0.3)),
    "perplexity": (Perplexity(perplexity=5), ("perplexity", 5.0)),
}
