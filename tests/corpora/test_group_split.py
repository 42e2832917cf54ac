"""Cuts by speaker, and test sentences that were trained on."""

import logging
import random

import pytest

from xmodal.corpora.group_split import mark_seen, split_by


def people(count: int, each: int = 5) -> list[dict[str, str]]:
    return [{"id": f"{person}-{n}", "speaker": f"p{person}"} for person in range(count) for n in range(each)]


def test_no_speaker_is_in_two_parts_and_shares_are_kept() -> None:
    rows = people(40)
    parts = split_by(rows, "speaker", {"test": 0.2, "dev": 0.1})
    speakers = {name: {row["speaker"] for row in part} for name, part in parts.items()}
    assert (
        not speakers["test"] & speakers["dev"]
        | speakers["test"] & speakers["train"]
        | speakers["dev"] & speakers["train"]
    )
    assert {name: len(part) for name, part in parts.items()} == {"test": 40, "dev": 20, "train": 140}
    assert sorted(row["id"] for part in parts.values() for row in part) == sorted(row["id"] for row in rows)


def test_the_cut_does_not_depend_on_the_order_of_rows() -> None:
    rows = people(20)
    before = split_by(rows, "speaker", {"dev": 0.3})["dev"]
    random.Random(0).shuffle(rows)
    assert sorted(row["id"] for row in split_by(rows, "speaker", {"dev": 0.3})["dev"]) == [
        row["id"] for row in sorted(before, key=lambda row: row["id"])
    ]


@pytest.mark.parametrize("count", [2, 3])
def test_every_part_gets_a_group_where_there_are_enough(count: int) -> None:
    parts = split_by(people(count), "speaker", {"dev": 0.9})
    assert all(parts.values())


def test_too_few_speakers_are_all_train(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert split_by(people(2), "speaker", {"test": 0.2, "dev": 0.1}) == {"train": people(2)}
    assert "2 speakers are too few to cut off test, dev: all rows are train" in caplog.text


def test_seen_sentences(caplog: pytest.LogCaptureFixture) -> None:
    test = [{"text": text} for text in ("We call it bear.", "something new", "WE CALL   it bear", "we call it a bear")]
    with caplog.at_level(logging.WARNING):
        assert mark_seen(test, [{"text": "we call it: bear"}], "a corpus, test") == 2
    assert [row["seen"] for row in test] == [True, False, True, False]
    assert "a corpus, test: 2 of 4 sentences occur in training, too" in caplog.text
