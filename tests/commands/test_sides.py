"""Which side of a model a command means where none is named."""

import pytest
from colour_encoder import colour_encoder

from xmodal.commands.evaluate.model import side_of_items
from xmodal.errors import UserError


def test_the_side_that_is_no_text_is_meant() -> None:
    encoder = colour_encoder()
    assert side_of_items(encoder, "--items") == "image"
    assert side_of_items(encoder, "--items", "text") == "text"
    encoder.processors["text"].kind = "audio"
    with pytest.raises(UserError, match="colours: encodes image, text; say which is meant, as --items image"):
        side_of_items(encoder, "--items")
