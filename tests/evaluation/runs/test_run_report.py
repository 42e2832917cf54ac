"""What a run's report says of the model besides its numbers."""

from pathlib import Path

import pytest
from colours import Processor, Sum, colour_encoder

from xmodal.encoding.encoder import Encoder
from xmodal.evaluation.classification.zero_shot import ZeroShot
from xmodal.evaluation.runs import run_report
from xmodal.evaluation.runs.run_report import cut_notes
from xmodal.evaluation.runs.saved_run import SavedRun
from xmodal.files import write_json_lines


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


@pytest.mark.parametrize(("left_out", "seen"), [([], 2), (["cat"], 1)])
def test_what_was_left_out_of_training_is_no_overlap(tmp_path: Path, left_out: list[str], seen: int) -> None:
    rows = [{"id": str(n), "audio": f"{n}.wav", "label": label} for n, label in enumerate(["dog", "cat", "dog"])]
    write_json_lines(tmp_path / "train.jsonl", rows)
    data = {"train": str(tmp_path / "train.jsonl"), "leave_out_labels": left_out}
    saved = SavedRun(tmp_path, {"towers": {"audio": {}, "text": {}}, "data": data})
    test = run_report.Tested(tmp_path / "test.jsonl", "audio", [tmp_path / "0.wav", tmp_path / "1.wav"])
    assert run_report._overlaps(saved, {"test": test}) == [
        f"test: {seen} of 2 test recordings are also training recordings."
    ]
