"""Spoken intents on vectors made by hand: class vectors are the axes, so an utterance's coordinates are its scores."""

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from intent_table import PLAY, TEST, WEATHER, ByTable, evaluate, spec

from xmodal.evaluation.classification.class_vectors import class_vectors
from xmodal.evaluation.classification.speech_intent import SpeechIntent
from xmodal.report.reading.headline import answer
from xmodal.report.report import Report


def test_every_number_of_a_small_matrix(table: ByTable, tmp_path: Path) -> None:
    report = evaluate(table, tmp_path)
    found = {r.metric: r.value for r in report.records}
    expected = {
        # prompts: s1, s5, s6 are right; s2 is nearer to set_alarm, s3 a tie, s4 nearest to weather, s7 has no chance
        "accuracy_prompt": 3 / 7,
        "oracle_prompt": 4 / 7,  # "be quiet" lies nearest to set_alarm
        "of_oracle_prompt": 3 / 4,
        # means: s2 scores 0.6 * 0.949 + 0.8 * 0.316 = 0.822 against 0.8: right
        "accuracy_mean": 4 / 7,
        "oracle_mean": 4 / 7,
        "of_oracle_mean": 1.0,
        "majority": 2 / 7,
        # without weather, s4 falls to set_alarm: right
        "accuracy_prompt_among_test": 4 / 7,
        "oracle_prompt_among_test": 4 / 7,
        "of_oracle_prompt_among_test": 1.0,
        "accuracy_mean_among_test": 5 / 7,
        "oracle_mean_among_test": 4 / 7,
        "of_oracle_mean_among_test": 5 / 4,
        "majority_among_test": 2 / 7,
    }
    assert found == pytest.approx(expected)
    records = {r.metric: r for r in report.records}
    assert {r.n for r in report.records} == {7}
    assert {r.dataset for r in report.records} == {"t"}
    for name, record in records.items():
        labels = ["play_music", "set_alarm", "stop"] + ([] if name.endswith("_among_test") else ["weather"])
        assert record.context["candidates"] == labels
        assert record.chance == (None if name.startswith("of_") else pytest.approx(1 / len(labels)))
        assert record.context["zero_shot"] is True
    assert records["accuracy_prompt"].context["ties"] == 1  # s3
    assert records["accuracy_mean"].context["ties"] == 0
    assert records["accuracy_mean"].context["examples"] == 5
    assert records["accuracy_mean_among_test"].context["examples"] == 4
    assert records["majority"].context["label"] == "play_music"


def test_every_item_is_written_down(table: ByTable, tmp_path: Path) -> None:
    frame = evaluate(table, tmp_path).predictions
    rows = frame[frame["protocol"] == "accuracy_prompt"]
    assert list(rows["item"]) == [f"s{i}" for i in range(1, 8)]
    # s3 scores 0.6 for play_music and for set_alarm: the first wins
    picked = ["play_music", "set_alarm", "play_music", "weather", "stop", "stop", "play_music"]
    assert list(rows["predicted"]) == picked
    assert list(rows["score"]) == pytest.approx([0.8, 0.8, 0.6, 0.8, 1, 0.96, 1])
    assert list(rows["cluster"]) == [text for text, _, _, spoken in TEST for _ in spoken]
    assert list(rows["true"]) == [label for _, label, _, spoken in TEST for _ in spoken]
    assert list(rows["correct"]) == [True, False, False, False, True, True, False]
    rows = frame[frame["protocol"] == "oracle_mean_among_test"]
    assert list(rows["predicted"]) == ["play_music"] * 2 + ["set_alarm"] * 2 + ["play_music"] * 2 + ["stop"]


def test_recall_per_intent(table: ByTable, tmp_path: Path) -> None:
    shown = SpeechIntent(spec(tmp_path)).evaluate(table, "t").tables["t: per intent"].set_index("intent")
    assert list(shown.index) == ["order_food", "play_music", "set_alarm", "stop"]
    assert list(shown["n"]) == [1, 2, 2, 2]
    assert list(shown["accuracy_prompt"]) == [0, 0.5, 0, 1]
    assert list(shown["accuracy_mean"]) == [0, 1, 0, 1]
    assert list(shown["oracle_prompt"]) == [0, 1, 1, 0]


def test_what_a_reader_must_know_is_noted(table: ByTable, tmp_path: Path) -> None:
    assert evaluate(table, tmp_path).notes == ["t: not among the candidates, so always wrong: order_food."]
    report = evaluate(table, tmp_path, synthetic=True, trained=True)
    assert len(report.notes) == 3
    assert "synthetic (TTS)" in report.notes[0]
    assert "not zero-shot" in report.notes[1]
    assert {r.context["zero_shot"] for r in report.records} == {False}
    assert {r.context["tts"] for r in report.records} == {True}
    unknown = evaluate(table, tmp_path, trained=None)  # as a command line has it where nobody says
    assert {r.context["zero_shot"] for r in unknown.records} == {None}
    assert not answer(unknown.records).sentences[0].text.startswith("t, zero-shot")
    assert answer(evaluate(table, tmp_path).records).sentences[0].text.startswith("t, zero-shot")
    table.folder = tmp_path  # of a run, of which somebody could know
    assert (
        "not known, so it is not called zero-shot; say --trained or --no-trained"
        in evaluate(table, tmp_path, trained=None).notes[0]
    )


@pytest.mark.parametrize("examples", [True, False])
def test_every_promised_metric_has_a_value(table: ByTable, tmp_path: Path, examples: bool) -> None:
    """Also where the oracle is never right (`of_oracle` has none then) and where a class cannot be read."""
    table.vectors["order food"] = WEATHER
    for text, _, _, _ in TEST:
        table.vectors[text] = torch.tensor([0.0, 0.0, 0.0, -1.0]) if text != "order pizza" else PLAY
    del table.vectors["s5.wav"], table.vectors["s6.wav"]  # all of "stop"
    evaluator = SpeechIntent(spec(tmp_path, max_bad=0.5, **({} if examples else {"examples": None})))
    report = evaluator.evaluate(table, "t", brief=True)
    assert not [metric for metric in evaluator.metrics() if math.isnan(report.value(metric))]
    kinds, suffixes = (("prompt", "mean"), ("", "_among_test")) if examples else (("prompt",), ("",))
    assert evaluator.metrics() == {f"{a}_{k}{s}" for a in ("accuracy", "oracle") for k in kinds for s in suffixes}


def test_classes_of_training_are_told_as_zero_shot_tells_them(table: ByTable, tmp_path: Path) -> None:
    table.trained_labels = frozenset({"Play Music", "unknown"})
    report = evaluate(table, tmp_path)
    assert "t: 1 of its classes occur in training (play_music): prompted classification, not zero-shot." in report.notes
    assert {r.context["zero_shot"] for r in report.records} == {False}


def test_without_examples_the_tests_labels_are_the_candidates(table: ByTable, tmp_path: Path) -> None:
    table.vectors["order food"] = WEATHER
    report = evaluate(table, tmp_path, examples=None)
    found = {r.metric: r.value for r in report.records}
    assert found.keys() == {"accuracy_prompt", "oracle_prompt", "of_oracle_prompt", "majority"}
    record = next(r for r in report.records if r.metric == "accuracy_prompt")
    assert record.context["candidates"] == ["order_food", "play_music", "set_alarm", "stop"]
    assert record.chance == 0.25
    assert report.notes == []


def test_intervals_resample_sentences(table: ByTable, tmp_path: Path) -> None:
    hits = {"play a tune": [1, 0], "wake me up": [0, 0], "be quiet": [1, 1], "order pizza": [0]}
    low, high = _record(evaluate(table, tmp_path), "accuracy_prompt")
    # four sentences: Student's, 3 degrees of freedom, from the spread of the 4^4 resamples, and cut at 0 and 1
    reach = math.sqrt(4 / 3) * 3.182446 * np.std(_means(list(hits.values())))
    assert (low, high) == pytest.approx((max(0, 3 / 7 - reach), min(1, 3 / 7 + reach)), abs=0.03)
    low, high = _record(evaluate(table, tmp_path, cluster="id"), "accuracy_prompt")
    # seven recordings: sqrt(7/6) t(0.975, 6) = 2.643, beyond which 0.0041 of the normal lie
    means = _means([[h] for group in hits.values() for h in group])
    assert np.quantile(means, 0.0025) - 1e-9 <= low <= np.quantile(means, 0.0065) + 1e-9
    assert np.quantile(means, 0.9935) - 1e-9 <= high <= np.quantile(means, 0.9975) + 1e-9


def _record(report: Report, metric: str) -> tuple[float, float]:
    [record] = [r for r in report.records if r.metric == metric]
    return record.low, record.high


def _means(groups: list[list[int]]) -> list[float]:
    """The mean of every possible resample of the groups."""
    means = []
    for drawn in itertools.combinations_with_replacement(range(len(groups)), len(groups)):
        ways = math.factorial(len(groups))
        for i in set(drawn):
            ways //= math.factorial(drawn.count(i))
        hits = [h for i in drawn for h in groups[i]]
        means += [sum(hits) / len(hits)] * ways
    assert len(means) == len(groups) ** len(groups)
    return means


def test_a_class_vector_is_the_normalised_mean_over_templates() -> None:
    rng = np.random.default_rng(0)
    raw = rng.standard_normal((4, 6))
    z = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    encoder = ByTable({name: torch.tensor(z[i]) for i, name in enumerate(["a", "please a", "b", "please b"])})
    # "please a" twice counts twice, and is encoded once
    found = class_vectors(encoder, "text", [["a", "please a", "please a"], ["b", "please b"]])
    assert encoder.asked == ["a", "please a", "b", "please b"]
    first, second = z[0] + 2 * z[1], z[2] + z[3]
    expected = np.stack([first / np.linalg.norm(first), second / np.linalg.norm(second)])
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_pictures_are_png(table: ByTable, tmp_path: Path) -> None:
    report = SpeechIntent(spec(tmp_path)).evaluate(table, "t")
    kinds = ["text-text similarity", "speech-speech similarity", "speech-text similarity", "confusion (accuracy_mean)"]
    assert list(report.figures) == [f"t: {kind}" for kind in kinds]
    assert all(png.startswith(b"\x89PNG") for png in report.figures.values())


def test_a_text_tower_that_moves_is_encoded_again(table: ByTable, tmp_path: Path) -> None:
    evaluator = SpeechIntent(spec(tmp_path))
    before = evaluator.evaluate(table, "t", brief=True)
    moved = {k: v.roll(1) for k, v in table.vectors.items()}  # every vector turned alike: nothing may change
    after = evaluator.evaluate(ByTable(moved), "t", brief=True)
    pd.testing.assert_frame_equal(after.predictions, before.predictions)
