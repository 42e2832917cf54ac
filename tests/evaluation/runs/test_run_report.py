"""What a run's report says of the model besides its numbers."""

from colours import colour_encoder

from xmodal.encoding.encoder import Encoder
from xmodal.evaluation.runs.run_report import cut_notes


class Cutting(Encoder):
    """One whose towers did not see some items whole."""

    cut = {"text": 1234, "image": 0}  # noqa: RUF012


def test_items_that_a_tower_cut_are_counted():
    plain = colour_encoder()
    assert cut_notes(plain) == []
    [note] = cut_notes(Cutting(plain.towers, plain.processors))
    assert note.startswith("text: 1,234 items are longer than the text tower reads")
