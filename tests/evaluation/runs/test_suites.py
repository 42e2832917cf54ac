"""Many tests in one table: what is finished is not done again, and what has changed is."""

import json
from typing import Annotated

import pytest
import torch
from colours import colour_encoder, save_image
from pydantic import TypeAdapter

from xmodal.commands.evaluate.report import evaluate_model
from xmodal.commands.evaluate.suite import read_suite
from xmodal.config.evaluator_spec import EvaluatorSpec
from xmodal.config.kinds import EVALUATORS
from xmodal.errors import UserError
from xmodal.evaluation.classification.zero_shot import ZeroShot


def test_what_is_missing_is_told_before_the_first_test_runs(folder, tmp_path):
    encoder = colour_encoder()
    specs = {name: ZeroShot.Spec(test=folder if name == "a" else tmp_path / name) for name in "abc"}
    with pytest.raises(UserError) as error:
        evaluate_model(encoder, specs, tmp_path, tmp_path / "out", resume=True)
    first, second = str(error.value).splitlines()
    assert first.startswith(f"b: {tmp_path / 'b'}: no such file")
    assert second.startswith(f"c: {tmp_path / 'c'}: no such file")
    assert encoder.towers["image"].backbone.seen == 0


def test_a_suite_notices_a_head_labels_and_damage(folder, tmp_path):
    def run(encoder):
        specs = {"x": ZeroShot.Spec(test=folder)}
        report, _ = evaluate_model(encoder, specs, tmp_path / "home", tmp_path / "out", resume=True)
        return report.value("acc1", "x"), encoder.towers["image"].backbone.seen

    assert run(colour_encoder()) == (8 / 9, 9)
    assert run(colour_encoder()) == (8 / 9, 0)
    turned = colour_encoder()
    turned.towers["image"].head.weight.data = torch.eye(3)[[2, 1, 0]].contiguous()  # red and blue change places
    assert run(turned) == (1 / 9, 9)
    (folder / "blue" / "0.png").rename(folder / "red" / "b.png")  # mislabelled; no file is new, nor larger
    assert run(colour_encoder()) == (7 / 9, 9)
    (tmp_path / "out" / "tests" / "x" / "predictions.parquet").unlink()
    assert run(colour_encoder()) == (7 / 9, 9)
    assert run(colour_encoder()) == (7 / 9, 0)


def test_a_suite_goes_on_where_it_was(folder, tmp_path):
    (tmp_path / "suite.yaml").write_text(
        f"all: {{kind: zero_shot, test: {folder}}}\ntwo: {{kind: zero_shot, test: {folder}, classes: [red, blue]}}\n"
    )
    specs = read_suite(tmp_path / "suite.yaml")
    report, out = evaluate_model(colour_encoder(), specs, tmp_path, tmp_path / "out", resume=True)
    mean = next(r for r in report.records if r.dataset == "mean over the suite")
    assert mean.value == pytest.approx((8 / 9 + 1) / 2)
    assert mean.n == 16
    again = colour_encoder()
    evaluate_model(again, specs, tmp_path, out, resume=True)
    assert again.towers["image"].backbone.seen == 0
    (tmp_path / "bad.yaml").write_text("all: {kind: zero_shots, test: x}\n")
    with pytest.raises(UserError, match=r"all\.kind: .*zero_shots"):
        read_suite(tmp_path / "bad.yaml")


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        ({"a": {"kind": "zero_shot", "test": "t", "prompt": "x"}}, r"a\.prompt: unknown key; did you mean a\.prompts"),
        ({"": {"kind": "zero_shot", "test": "t"}}, "the name of a test is that of a folder"),
        ({"a\0b": {"kind": "zero_shot", "test": "t"}}, "the name of a test is that of a folder"),
        ({"..": {"kind": "zero_shot", "test": "t"}}, "the name of a test is that of a folder"),
    ],
)
def test_suites_with_mistakes(tmp_path, suite, message):
    (tmp_path / "s.yaml").write_text(json.dumps(suite))
    with pytest.raises(UserError, match=message):
        read_suite(tmp_path / "s.yaml")


def test_every_mistake_of_a_suite_is_a_line(tmp_path):
    suite = {
        "a": {"kind": "zero_shot", "test": "t", "max_bad": 2, "prompt": "x"},
        "b": {"kind": "zero_shoot", "test": "t"},
        "c/d": {"kind": "retrieval", "test": "t", "k": 1},
        "e": {"test": "t"},
    }
    (tmp_path / "s.yaml").write_text(json.dumps(suite))
    with pytest.raises(UserError) as error:
        read_suite(tmp_path / "s.yaml")
    lines = [line.removeprefix(f"{tmp_path}/s.yaml: ") for line in str(error.value).split("\n")]
    assert sorted(line.partition(": ")[0] for line in lines) == [
        "'c/d'", "a.max_bad", "a.prompt", "b.kind", "c/d.k", "e.kind",
    ]  # fmt: skip
    assert "a.max_bad: 2 must be at most 1" in lines
    assert any("did you mean zero_shot?" in line for line in lines)


def test_kinds_of_evaluators_are_told_apart():
    found = TypeAdapter(Annotated[EvaluatorSpec, EVALUATORS]).validate_python({"kind": "zero_shot", "test": "x"})
    assert isinstance(found, ZeroShot.Spec)


def test_a_suite_notices_other_prompts_and_other_items(folder, tmp_path):
    (tmp_path / "p.yaml").write_text("- '{c}'\n")
    (tmp_path / "suite.yaml").write_text(f"all: {{kind: zero_shot, test: {folder}, prompts: {tmp_path / 'p.yaml'}}}\n")
    specs, out = read_suite(tmp_path / "suite.yaml"), tmp_path / "out"

    def seen():
        encoder = colour_encoder()
        evaluate_model(encoder, specs, tmp_path, out, resume=True)
        return encoder.towers["image"].backbone.seen

    assert [seen(), seen()] == [9, 0]
    (tmp_path / "p.yaml").write_text("- 'a {c}'\n- 'one {c}'\n")
    assert [seen(), seen()] == [9, 0]
    save_image(folder / "red" / "9.png", "red")
    assert seen() == 10
