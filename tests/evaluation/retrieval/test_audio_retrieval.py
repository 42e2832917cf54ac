"""Retrieval of sounds, as Clotho and AudioCaps are laid out: several captions a clip, as lists or row by row."""

from pathlib import Path

import numpy as np
import pytest
import torch
from intent_table import ByTable, write

from xmodal.evaluation.retrieval.retrieval import Retrieval
from xmodal.report.report import Report

CLIPS, CAPTIONS = 14, 5


@pytest.fixture
def clotho(tmp_path: Path) -> ByTable:
    rng = np.random.default_rng(0)
    vectors: dict[str, torch.Tensor] = {}
    lists, rows = [], []
    for clip in range(CLIPS):
        own = rng.standard_normal(8)
        vectors[f"{clip}.wav"] = torch.tensor(own / np.linalg.norm(own), dtype=torch.float32)
        captions = [f"clip {clip} caption {number}" for number in range(CAPTIONS)]
        for caption in captions:
            z = own + 1.5 * rng.standard_normal(8)
            vectors[caption] = torch.tensor(z / np.linalg.norm(z), dtype=torch.float32)
            rows.append({"id": f"{caption}", "audio": f"{clip}.wav", "text": caption})
        lists.append({"id": str(clip), "audio": f"{clip}.wav", "text": captions})
    write(tmp_path / "lists.jsonl", lists)
    write(tmp_path / "rows.jsonl", rows)
    return ByTable(vectors)


def evaluate(encoder: ByTable, test: Path) -> Report:
    return Retrieval(Retrieval.Spec(test=test, items="audio")).evaluate(encoder, "clotho", brief=True)


def average_precision(ranked: list[bool], positives: int, depth: int = 10) -> float:
    """Precision at every right place among the first `depth`, over as many as could be there."""
    found = [sum(ranked[: at + 1]) / (at + 1) for at in range(depth) if ranked[at]]
    return sum(found) / min(positives, depth)


def test_both_directions_against_a_loop(clotho: ByTable, tmp_path: Path) -> None:
    report = evaluate(clotho, tmp_path / "lists.jsonl")
    sounds = torch.stack([clotho.vectors[f"{clip}.wav"] for clip in range(CLIPS)]).numpy()
    texts = [f"clip {clip} caption {number}" for clip in range(CLIPS) for number in range(CAPTIONS)]
    scores = torch.stack([clotho.vectors[text] for text in texts]).numpy() @ sounds.T
    owner = np.repeat(np.arange(CLIPS), CAPTIONS)
    of_texts = [[bool(clip == owner[t]) for clip in np.argsort(-scores[t])] for t in range(len(texts))]
    of_clips = [[bool(owner[t] == clip) for t in np.argsort(-scores[:, clip])] for clip in range(CLIPS)]
    for direction, ranked, positives in (("text_to_audio", of_texts, 1), ("audio_to_text", of_clips, CAPTIONS)):
        expected = np.mean([average_precision(each, positives) for each in ranked])
        assert report.value(f"{direction}_map@10") == pytest.approx(expected)
        for k in (1, 5, 10):
            assert report.value(f"{direction}_recall@{k}") == np.mean([any(each[:k]) for each in ranked])
    records = {record.metric: record for record in report.records}
    assert (records["text_to_audio_map@10"].n, records["audio_to_text_map@10"].n) == (CLIPS * CAPTIONS, CLIPS)
    for record in records.values():
        assert record.chance is not None
        assert record.low is not None
        assert record.high is not None


def test_a_row_per_caption_is_the_same_test(clotho: ByTable, tmp_path: Path) -> None:
    """Intervals, too: the captions of one clip are resampled together."""
    found = [
        [(r.metric, r.value, r.low, r.high, r.n, r.chance) for r in evaluate(clotho, tmp_path / name).records]
        for name in ("lists.jsonl", "rows.jsonl")
    ]
    assert found[0] == found[1]
