"""Other wordings and windows out of a stream: the same for every number of processes, counted over its beginning."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from processors import RATE, Names, Waves

from xmodal.config.augment.audio import Windows
from xmodal.config.augment.text import TextAugment
from xmodal.config.data import AudioModality, DataSpec, TextModality
from xmodal.data import stream as stream_module
from xmodal.data.stream import StreamedPairs
from xmodal.data.views import text as text_views
from xmodal.errors import UserError
from xmodal.store import content_id

COUNT = 12


def recording(n):
    buffer = io.BytesIO()
    wave = np.arange((n + 1) * 100, dtype=np.float32) / 10_000
    soundfile.write(buffer, wave, RATE, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Recordings of 100, 200, ... samples; every third text has no other wording."""
    back = [None if n % 3 == 0 else [f"tell {n}", f"speak {n}"] for n in range(COUNT)]
    columns = {"text": [f"say {n}" for n in range(COUNT)], "back": back, "speech": [recording(n) for n in range(COUNT)]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    return tmp_path


def stream(folder, rank=0, world=1, alternatives="back"):
    text = TextModality(augment=TextAugment(alternatives=alternatives, alternative=0.5))
    speech = AudioModality(windows=Windows(seconds=200 / RATE), training_views=2, min_seconds=0)
    data = DataSpec(train=folder, streaming=True, shuffle_buffer=4)
    processors = {"text": Names(), "speech": Waves()}
    return StreamedPairs(data, {"text": text, "speech": speech}, processors, 0, 4, rank, world)


def take(pairs, count):
    return [batch for batch, _ in zip(pairs, range(count), strict=False)]


def test_wordings_and_windows_come_with_the_rows(folder):
    whole = take(stream(folder), 30)
    names = {content_id(f"say {n}"): n for n in range(COUNT)}
    seen = set()
    for batch in whole:
        for row in range(4):
            n = names[int(batch.item_ids["text"][row])]
            said = int(batch.inputs["text"]["ids"][row, 0])
            allowed = [f"say {n}"] if n % 3 == 0 else [f"say {n}", f"tell {n}", f"speak {n}"]
            seen.add(next(text for text in allowed if content_id(text) == said))
            one, two = (batch.view("speech", view)["waves"][row] for view in range(2))
            if n >= 3:  # 400 samples: room for two windows
                assert torch.equal(torch.round(two[:200] * 10_000), torch.round(one[:200] * 10_000) + 200)
            else:
                assert torch.equal(one, two[: len(one)])
    assert len(seen) == 4 + 8 * 3
    for batch, *parts in zip(whole[:4], take(stream(folder, 0, 2), 4), take(stream(folder, 1, 2), 4), strict=True):
        assert batch.inputs["text"]["ids"].tolist() == [
            i for part in parts for i in part.inputs["text"]["ids"].tolist()
        ]


def test_what_is_too_short_is_counted_over_the_first_rows(folder):
    notes = stream(folder).tally.notes
    assert any(note.startswith("speech: 3 of 12 recordings are shorter than the 0.05 s of 2 windows") for note in notes)
    with pytest.raises(UserError, match="missing column 'bak'; found: "):
        stream(folder, alternatives="bak")


def test_the_table_of_synonyms_is_read_once(tmp_path, monkeypatch):
    read, found = text_views.read_synonyms, []
    monkeypatch.setattr(text_views, "read_synonyms", lambda path: found.append(path) or read(path))
    pq.write_table(pa.table({"text": [f"say {n}" for n in range(COUNT)]}), tmp_path / "a.parquet")
    (tmp_path / "s.yaml").write_text("say: tell\n")
    text = TextModality(augment=TextAugment(synonyms=tmp_path / "s.yaml", synonym=1))
    data = DataSpec(train=tmp_path, streaming=True, shuffle_buffer=4)
    pairs = StreamedPairs(data, {"text": text}, {"text": Names()}, 0, 4)
    said = {int(one) for batch in take(pairs, 3) for one in batch.inputs["text"]["ids"][:, 0]}
    assert said == {content_id(f"tell {n}") for n in range(COUNT)}
    assert len(found) == 1


def test_wordings_may_be_strings_beside_lists(folder, monkeypatch):
    """As a column of JSON may hold them."""
    read = stream_module.read_stream

    def mixed(*given):
        for row in read(*given):
            number = int(row["text"].removeprefix("say "))
            yield row | {"back": f"tell {number}"} if number % 2 else row

    monkeypatch.setattr(stream_module, "read_stream", mixed)
    said = {int(one) for batch in take(stream(folder), 30) for one in batch.inputs["text"]["ids"][:, 0]}
    assert content_id("tell 1") in said
    assert content_id("speak 2") in said
    assert content_id("speak 1") not in said
