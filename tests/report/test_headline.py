"""What a report says first: sentences out of records of every kind of report, and the tables they stand in."""

import pytest

from xmodal.commands.evaluate.report import suite_mean
from xmodal.report import Record
from xmodal.report.reading.families import AMONG, REWORDINGS, placed, sheets
from xmodal.report.reading.headline import MOST, SUITE, ahead, answer
from xmodal.report.reading.measured import measured


def texts(*records: Record, notes: tuple[str, ...] = ()) -> list[str]:
    return [sentence.text for sentence in answer(records, notes).sentences]


CLASSES = {"candidates": ["a", "b", "c", "d"]}


@pytest.mark.parametrize(
    ("metric", "column", "row"),
    [
        ("accuracy_mean", "accuracy", ("by example sentences",)),
        ("of_oracle_prompt_among_test", "of oracle", ("by prompts", AMONG)),
        ("accuracy_open_mean", "accuracy open", ("by example sentences",)),
        ("accuracy_cup_size_prompt", "accuracy", ("cup size", "by prompts")),
        ("majority_among_test", "majority", (AMONG,)),
        ("majority_cup_size", "majority", ("cup size",)),
        ("text_to_image_recall@10", "recall@10", ("text to image",)),
        ("accuracy_k5", "accuracy", ("k = 5",)),
        ("accuracy_all", "accuracy", ("all templates",)),
        ("accuracy_k5: cwcl", "cwcl", ("accuracy", "k = 5")),
        ("accuracy_mean: a - b", "a - b", ("accuracy", "by example sentences")),
        ("acc1_over_folds", "acc1", ("mean of the folds",)),
        ("few_shot_16", "few shot 16", ()),
        ("slurp/accuracy_mean minus CL", "slurp/accuracy_mean minus CL", ()),
    ],
)
def test_where_a_metric_stands(metric: str, column: str, row: tuple[str, ...]) -> None:
    assert placed(metric) == ("", column, row)


def test_rewordings_are_a_grid_by_run() -> None:
    records = [
        Record("cifar", f"{word} - original: {run}", gap, gap - 0.01, gap + 0.01, 50, 0.0, {"excludes_0": gap != 0})
        for run, gaps in {"cl": (0.0, 0.02), "cwcl": (-0.03, 0.0)}.items()
        for word, gap in zip(("lower case", "no article"), gaps, strict=True)
    ]
    [grid] = sheets(records)
    assert (grid.title, grid.columns) == (REWORDINGS, ["cl", "cwcl"])
    assert [(row.about, [record.value for record in row.cells.values()]) for row in grid.rows] == [
        (("lower case",), [0.0, -0.03]),
        (("no article",), [0.02, 0.0]),
    ]


def intents(dataset: str = "intents") -> list[Record]:
    heard = CLASSES | {"zero_shot": True, "input": "speech"}
    return [
        Record(dataset, "accuracy_prompt", 0.4, 0.3, 0.5, 1796, 0.25, heard),
        Record(dataset, "accuracy_mean", 0.613, 0.59, 0.636, 1796, 0.25, heard),
        Record(dataset, "oracle_mean", 0.84, 0.8, 0.9, 1796, 0.25, heard),
        Record(dataset, "majority", 0.3, 0.2, 0.4, 1796, 0.25, CLASSES),
        Record(dataset, "accuracy_mean_among_test", 0.9, 0.8, 1.0, 1796, 0.5, heard),
    ]


def test_spoken_intents_with_their_warnings() -> None:
    notes = ["intents: the speech is synthetic (TTS).", "training is not finished.", "intents_b: another one."]
    found = answer(intents(), notes)
    assert [sentence.text for sentence in found.sentences] == [
        "intents, zero-shot: 0.613 [0.590, 0.636] of 1,796 recordings right among 4 classes, known by example "
        "sentences (chance 0.250, oracle 0.840)."
    ]
    assert found.sentences[0].warnings == ("the speech is synthetic (TTS).",)
    assert found.notes == notes[1:]  # nothing is lost


def test_the_majority_stands_beside_every_kind_of_class_vector() -> None:
    first, second = sheets(intents())[0].rows[:2]
    assert first.cells["majority"] is second.cells["majority"]
    assert [row.about for sheet in sheets(intents()) for row in sheet.rows] == [
        ("by prompts",),
        ("by example sentences",),
        ("by example sentences", AMONG),
    ]


def test_every_record_stands_in_a_table() -> None:
    records = [*intents(), *intents(), Record("intents", "majority_of_none", 0.1), Record("x", "odd: one - two", 1.0)]
    shown = {id(record) for sheet in sheets(records) for row in sheet.rows for record in row.cells.values()}
    assert shown == {id(record) for record in records}


def test_pictures_and_retrieval() -> None:
    seen = CLASSES | {"items": "image", "zero_shot": False}
    assert texts(Record("cifar", "acc1", 0.5, None, None, 10, 0.25, seen)) == [
        "cifar: 0.500 of 10 images right among 4 classes (chance 0.250)."
    ]
    gallery = {"candidates": ["5000 image items, sha256 0123"]}
    assert texts(
        Record("coco", "text_to_image_recall@1", 0.3, 0.2, 0.4, 25_000, 1 / 5000, gallery),
        Record("coco", "image_to_text_recall@1", 0.4, 0.3, 0.5, 5_000, 1 / 5000),
        Record("coco", "text_to_image_median_rank", 3, 2, 4, 25_000, 2500),
    ) == [
        "coco, text to image: a right one comes first for 0.300 [0.200, 0.400] of 25,000 queries (chance 0.0002).",
        "coco, image to text: a right one comes first for 0.400 [0.300, 0.500] of 5,000 queries (chance 0.0002).",
    ]


def test_a_metric_that_nobody_knows_is_told_by_its_name() -> None:
    assert texts(Record("space", "modality_gap", 0.8, 0.7, 0.9, 100)) == [
        "space: modality gap 0.800 [0.700, 0.900], n = 100."
    ]
    assert texts(Record("space", "nothing", None)) == texts() == []


@pytest.mark.parametrize(
    ("gap", "said"),
    [
        ((0.1, 0.05, 0.15), "a is ahead of b by 0.100 [0.050, 0.150]"),
        ((-0.1, -0.15, -0.05), "b is ahead of a by 0.100 [0.050, 0.150]"),
        ((0.1, -0.05, 0.25), "no winner: a and b differ by 0.100 [-0.050, 0.250], which holds 0"),
        ((0.1, None, None), "no winner: a and b differ by 0.100, no interval"),
        ((0.1, float("nan"), float("nan")), "no winner: a and b differ by 0.100, no interval"),
    ],
)
def test_a_winner_only_where_the_interval_says_so(gap: tuple[float, float, float], said: str) -> None:
    assert ahead("a", "b", *gap) == said


def test_label_sets_together_come_before_each() -> None:
    heard = CLASSES | {"input": "speech"}
    sets = ("size", "drink", "milk", "all")
    found = texts(*(Record("orders", f"accuracy_{each}_prompt", 0.5, n=9, context=heard) for each in sets))
    assert [text.partition(":")[0] for text in found] == ["orders, all", "orders, size", "orders, drink"]


def test_none_of_these_and_missing_predictions() -> None:
    assert texts(Record("t", "accuracy_open_mean", 0.5, n=9, chance=0.2, context=CLASSES)) == [
        "t: 0.500 of 9 items right among 4 classes, “none of these” being an answer too, known by example sentences "
        "(chance 0.200)."
    ]
    assert texts(Record("slurp", "intent_strict", 0.8, n=9)) == [
        "slurp, intent: 0.800 of 9 items right, those without a prediction counted as wrong."
    ]


def test_two_runs() -> None:
    def side(name: str, value: float, low: float, high: float, **more: bool) -> Record:
        return Record("t", f"acc1: {name}", value, low, high, 40, 0.1, more)

    gap = side("b - a", -0.1, -0.2, -0.05, excludes_0=True)
    assert texts(side("b", 0.5, 0.4, 0.6), side("a", 0.6, 0.5, 0.7), gap) == [
        "t, acc1: a is ahead of b by 0.100 [0.050, 0.200] (b 0.500, a 0.600, 40 items)."
    ]


def test_a_sweep() -> None:
    records = [
        Record("CL", "slurp/acc", 0.5, 0.4, 0.6, 40, 0.1),
        Record("CWCL", "slurp/acc", 0.6, 0.5, 0.7, 40, 0.1),
        Record("CWCL", "slurp/acc minus CL", 0.1, -0.1, 0.3, 40, 0.0),
    ]
    assert texts(*records) == [
        "slurp/acc: CWCL is the highest of 2 settings with 0.600 [0.500, 0.700] on 40 items (chance 0.100); minus CL "
        "0.100 [-0.100, 0.300], which holds 0: no winner."
    ]


def test_a_suite_leads_with_its_mean_and_keeps_to_a_few_sentences() -> None:
    records = [Record(f"set{n}", "acc1", 0.5, n=10) for n in range(9)]
    found = texts(*records, Record(SUITE, "acc1", 0.5, n=90))
    assert found[0] == "mean over the suite: 0.500 of a test's items right, mean of the tests."
    assert found[MOST:] == ["4 more are in the table."]
    said = answer(records, ["set8: is synthetic."])
    assert said.notes == ["set8: is synthetic."]  # what is not told in a sentence is told below


def test_the_mean_of_unequal_tests_is_no_share_of_all_items() -> None:
    tests = [
        Record("few", "acc1", 0.9, 0.8, 1.0, 10, 0.1),
        Record("many", "acc1", 0.1, 0.08, 0.12, 1000, 0.1),
        Record("few", "text_to_image_recall@1", 0.9, 0.8, 1.0, 10),
        Record("many", "text_to_image_recall@1", 0.1, 0.08, 0.12, 1000),
    ]
    assert [text for text in texts(*suite_mean(tests, ["few", "many"])) if text.startswith(SUITE)] == [
        "mean over the suite: 0.500 [0.449, 0.551] of a test's items right, mean of 2 tests (chance 0.100).",
        "mean over the suite, text to image: a right one comes first for 0.500 [0.449, 0.551] of a test's queries, "
        "mean of 2 tests.",
    ]


def test_a_mean_of_folds_is_no_share_of_all_items() -> None:
    heard = CLASSES | {"items": "audio", "interval_over": "5 folds"}
    assert texts(
        Record("esc", "acc1", 0.7, 0.6, 0.8, 400, 0.25, heard),
        Record("esc", "acc1_over_folds", 0.8, 0.7, 0.9, 400, 0.25, heard),
    ) == [
        "esc: 0.700 [0.600, 0.800] of 400 recordings right among 4 classes (chance 0.250).",
        "esc: 0.800 [0.700, 0.900] of a fold's recordings right among 4 classes, mean of 5 folds (chance 0.250).",
    ]


def test_sentences_of_who_measured_come_in_place_of_those_of_the_records() -> None:
    found = answer(intents(), ["intents: TTS."], ["no winner."])
    assert ([sentence.text for sentence in found.sentences], found.notes) == (["no winner."], ["intents: TTS."])


def test_how_it_was_measured_has_a_column_for_each_family() -> None:
    heard = {"tts": True, "templates": 8}
    found = measured(
        [
            Record("d", "accuracy_prompt", 0.5, context=heard | {"candidates": ["a", "b"]}),
            Record("d", "accuracy_prompt_among_test", 0.5, context=heard | {"candidates": ["a"]}),
            Record("d", "majority", 0.5, context=heard | {"label": "a"}),
            Record("bare", "acc1", 0.5),
        ]
    )
    assert list(found) == ["d"]
    assert found["d"].common == [("tts", "yes"), ("templates", "8")]
    assert found["d"].columns == ["accuracy", "majority"]
    assert found["d"].apart == [
        ("candidates", ["a, b; a (among the test's classes)", ""]),
        ("label", ["", "a"]),
    ]
