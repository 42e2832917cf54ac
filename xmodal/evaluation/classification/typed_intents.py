"""Intents typed on the spot, for one's own recordings."""

from collections.abc import Sequence

import numpy as np

from xmodal.encoding.encoder import Encoder, Item
from xmodal.errors import UserError
from xmodal.evaluation.classification.class_vectors import class_vectors
from xmodal.prompts import fill, is_unicode


def rank_intents(
    encoder: Encoder,
    audio: Sequence[Item],
    intents: Sequence[str],
    templates: Sequence[str],
    sample_rate: int | None = None,
    speech: str = "speech",
    text: str = "text",
) -> list[list[tuple[str, float]]]:
    """Per recording the typed intents with their cosine similarity, best first.

    Raises:
        UserError: no intents, or a recording that cannot be read.

    Example:
        rank_intents(xmodal.load("runs/demo"), ["a.wav"], ["lights on", "play music"], ["{c}"])[0][0]
    """
    if not intents or not all(intent.strip() for intent in intents):
        what = "an empty intent" if intents else "no intents to choose among"
        raise UserError(f'{what}: give --intent "turn on the lights" at least once')
    astray = [intent for intent in intents if not is_unicode(intent)]
    if astray:
        raise UserError(f"intent {astray[0]!r}: not Unicode text; type it anew")
    intents = list(dict.fromkeys(intents))
    vectors = class_vectors(encoder, text, [fill(list(templates), intent) for intent in intents])
    scores: np.ndarray = (encoder.encode(speech, audio, sample_rate) @ vectors.T).numpy()
    return [sorted(zip(intents, row.tolist(), strict=True), key=lambda pair: -pair[1]) for row in scores]
