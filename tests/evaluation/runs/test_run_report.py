"""What a run's report says of the model besides its numbers."""

from colours import Processor, Sum, colour_encoder

from xmodal.encoding.encoder import Encoder
from xmodal.evaluation.classification.zero_shot import ZeroShot
from xmodal.evaluation.runs.run_report import cut_notes


class Brief(Processor):
    """Reads four letters."""

    def cut(self, item):
        return f"text of {len(item)} letters cut to 4" if len(item) > 4 else None


def test_items_that_a_tower_cut_are_counted(folder):
    plain = colour_encoder()
    assert isinstance(plain.towers["text"].backbone, Sum)
    encoder = Encoder(plain.towers, {"image": Processor("image"), "text": Brief("text")}, name="brief")
    test = ZeroShot(ZeroShot.Spec(test=folder))
    assert cut_notes(encoder) == []
    test.evaluate(encoder, "x", brief=True)
    [note] = cut_notes(encoder)  # of red, green and blue one
    assert note == (
        "text: 1 items are longer than the text tower reads; their ends count for nothing (the first: text of 5 "
        "letters cut to 4)."
    )
