"""What every mistake in a config says, in a line of its own. Tables: a line or two each."""

from pathlib import Path
from typing import Any

import pytest
from config_texts import RUN, lines_of

from xmodal.config import load_config
from xmodal.config.kinds import OBJECTIVES
from xmodal.errors import UserError

TOWERS = "transformers, open_clip, timm, speech_encoder, image_encoder, text_encoder, onnx, torchaudio, store, run"
OWN = ", ".join(OBJECTIVES.own)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("format: 1", "format: 1 must be 2"),
        ("train: {setps: 5}", "train.setps: unknown key; did you mean train.steps?"),
        ("sead: 5", "sead: unknown key; did you mean seed?"),
        ("train: {lr: 1}", "train.lr: unknown key; did you mean optim.lr?"),
        ("optim: {rules: [{match: a, lr_scail: 1}]}", "optim.rules.0.lr_scail: unknown key; did you mean "
         "optim.rules.0.lr_scale?"),
        ("optim: {lr: -1}", "optim.lr: -1 must be greater than 0"),
        ("optim: {lr: .nan}", "optim.lr: nan must be a finite number"),
        ("optim: {warmup: 2}", "optim.warmup: 2 must be at most 1"),
        ("train: {batch_size: 1}", "train.batch_size: 1 must be at least 2"),
        ("train: {steps: many}", "train.steps: 'many' must be a whole number"),
        ("train: {steps: 1.5}", "train.steps: 1.5 must be a whole number"),
        ("train: {threads: few}", "train.threads: 'few' must be a whole number or auto"),
        ("train: {resume: maybe}", "train.resume: 'maybe' must be true or false or changed"),
        ("train: {precision: bf61}", "train.precision: 'bf61' is not one of fp32, bf16, fp16; did you mean bf16?"),
        ("train: {trackers: jsonl}", "train.trackers: 'jsonl' must be a list, as [jsonl]"),
        ("train: 5", "train: 5 must be a mapping of keys to values"),
        ("train:", "train: has no value; give one, or leave the key out for its default"),
        ("pairs: [[speech]]", "pairs.0.1: missing"),
        ("objective: {kind: cwlc}",
         f"objective.kind: 'cwlc' is not one of {OWN}; did you mean cwcl?"),
        ("objective: {temperature: 1}",
         f"objective.kind: missing; give one of {OWN}"),
        ("objective: {kind: cwcl, kernel: {kind: exp, power: 1}}",
         "objective.kernel.power: unknown key; known here: kind, "
         "centre, identity_mix, temperature"),
        ("evaluators: {a: {kind: intent, test: b}}", "evaluators.a.kind: 'intent' is not one of speech_intent, "
         "zero_shot, retrieval, label_sets, keywords, folds; did you mean speech_intent?"),
        ("evaluators: {a: {kind: zero_shot}}", "evaluators.a.test: missing"),
        ("evaluators: {a: {kind: zero_shot, test: t, 1: x}}",
         "evaluators.a.1: keys must be text (put quotes around it)"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_line(write: Any, text: str, line: str) -> None:
    assert lines_of(write(RUN + text)) == [line]


@pytest.mark.parametrize(
    ("tower", "lines"),
    [
        ("{kind: transformer}",
         [f"towers.text.kind: 'transformer' is not one of {TOWERS}; did you mean transformers?"]),
        ("{kind: transformers}", ["towers.text.name: missing"]),
        ("{kind: transformers, name: 3}", ["towers.text.name: 3 must be text (put quotes around it)"]),
        ("{kind: store, path: s, tower: {kind: transformers, nmae: b}}", ["towers.text.tower.name: missing",
         "towers.text.tower.nmae: unknown key; did you mean towers.text.tower.name?"]),
        ("{kind: speech_encoder, width: 10, heads: 4}", ["towers.text: width 10 is not a multiple of heads 4"]),
        ("{kind: speech_encoder, head: {kind: linear, dim: 0}}", ["towers.text.head.dim: 0 must be at least 1"]),
        ("{kind: speech_encoder, strides: [2, x]}", ["towers.text.strides.1: 'x' must be a whole number"]),
    ],
)  # fmt: skip
def test_tower_mistakes_have_clean_keys(write: Any, tower: str, lines: list[str]) -> None:
    text = f"output: a\ndata: {{train: t}}\ntowers:\n  text: {tower}\n  speech: {{kind: speech_encoder}}\n"
    assert lines_of(write(text)) == lines


def test_every_mistake_at_once_each_with_its_source(write: Any) -> None:
    base = write(RUN + "optim: {leaning_rate: 1}\n", "base/b.yaml")
    path = write("base: base/b.yaml\ntrain: {setps: 5, steps: 0}\n")
    overrides = ["seed=-1", "data.buckts=3", "towers.txt.mode=locked", "train.best", "output.x=1", "optim.lr={"]
    with pytest.raises(UserError) as error:
        load_config(path, overrides)
    assert set(str(error.value).splitlines()) == {
        "command line: 'train.best': expected key=value, as train.steps=500",
        "command line: optim.lr: '{' is not YAML: line 1, column 2: expected the node content, but found "
        "'<stream end>'",
        "command line: output.x: output is a single value, 'runs/a'; set all of it, output=...",
        "command line: seed: -1 must be at least 0",
        "command line: data.buckts: unknown key; did you mean data.buckets?",
        f"{path}: towers.txt.kind: missing (did you mean towers.text?); give one of {TOWERS}",
        f"{path}: train.steps: 0 must be at least 1",
        f"{path}: train.setps: unknown key; did you mean train.steps?",
        f"{base}: optim.leaning_rate: unknown key; known here: lr, betas, eps, weight_decay, warmup, final, clip, "
        "layer_decay, rules",
    }


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "empty, expected the keys of a run"),
        ("# a comment\n", "empty, expected the keys of a run"),
        ("- a\n", "found a list, expected a mapping of keys to values"),
        ("seed: 1\nseed: 2\n", "line 2, column 1: key 'seed' is given twice, first on line 1"),
        ("train:\n steps: 1\n chunk: 1\n steps: 2\n", "line 4, column 2: key 'steps' is given twice, first on line 2"),
        ("a: 1\nb: [1, 2\nc: 3\n", "line 3, column 2: expected ',' or ']', but got ':'"),
        ("a: 1\n\tb: 2\n", "line 2, column 1: found character '\\t' that cannot start any token"),
        ("a: !!python/object/apply:os.getcwd []\n", "line 1, column 4: could not determine a constructor for the tag "
         "'tag:yaml.org,2002:python/object/apply:os.getcwd'"),
        ("seed: 0b_\n", "not YAML: invalid literal for int() with base 2: ''"),
        ("base: [a]\n", "base: found ['a'], expected one file name, as base/demo.yaml"),
    ],
)  # fmt: skip
def test_wrong_file(write: Any, text: str, line: str) -> None:
    assert lines_of(write(text)) == [line]


def test_missing_files(write: Any, tmp_path: Path) -> None:
    near = write(RUN, "demo_cwcl.yaml")
    assert lines_of(tmp_path / "demo_cwlc.yaml") == [f"no such file; did you mean {near}?"]
    assert lines_of(tmp_path / "none" / "a.yaml") == ["no such file; there: no .yaml file"]
    assert lines_of(tmp_path) == ["is a folder, expected a YAML file"]
    base = write(RUN, "base/speech.yaml")
    path = write("base: base/spech.yaml\n")
    assert lines_of(path) == [f"base: {base.parent / 'spech.yaml'}: no such file; did you mean {base}?"]


def test_not_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00a")
    assert lines_of(tmp_path / "a.yaml")[0].startswith("cannot be read as UTF-8 text")


def test_a_base_has_no_base(write: Any) -> None:
    write(RUN, "c.yaml")
    write("base: c.yaml\n", "b.yaml")
    path = write("base: b.yaml\n")
    with pytest.raises(UserError, match="a base has no base of its own"):
        load_config(path)


STORE = "towers.text={kind: store, path: s, tower: {kind: transformers, name: bert}}"
NEEDS = "store needs towers.text of kind store with an identity head: other embeddings move, or are nowhere on disk"


@pytest.mark.parametrize(
    ("objective", "overrides", "problem"),
    [
        ("{kind: infonce, keys: store}", [], f"objective.keys: {NEEDS}"),
        ("{kind: cwcl, scope: store}", [STORE, "towers.text.head={kind: linear}"], f"objective.scope: {NEEDS}"),
        (
            "{kind: cwcl, scope: store, anchor: both}",
            [STORE],
            "scope: store goes with anchor trainable, found anchor both",
        ),
        ("{kind: infonce, keys: store}", [STORE], None),
        ("{kind: cwcl, keys: store, scope: store}", [STORE], None),
    ],
)
def test_keys_of_a_whole_store_ask_for_a_store(
    write: Any, objective: str, overrides: list[str], problem: str | None
) -> None:
    path = write(f"{RUN}objective: {objective}\n")
    if problem is None:
        assert load_config(path, overrides).objective.keys == "store"
    else:
        [line] = lines_of(path, *overrides)
        assert line.endswith(problem)


def test_lengths_that_exclude_everything(write: Any) -> None:
    overrides = ["data.modalities.speech={kind: audio, min_seconds: 20, max_seconds: 15}"]
    assert lines_of(write(RUN), *overrides)[0].endswith(
        "data.modalities.speech: min_seconds 20 is above max_seconds 15"
    )
