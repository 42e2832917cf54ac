"""From YAML and a command line to a run's config, and back: merging, overrides, differences."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from config_texts import RUN, lines_of
from hypothesis import given, settings
from hypothesis import strategies as st

from xmodal.config import RunConfig, config_differences, dump_config, load_config
from xmodal.config.yaml_text import read_yaml, write_yaml
from xmodal.objectives import CWCL, InfoNCE
from xmodal.objectives.kernels import Power
from xmodal.towers.kinds.store import StoreTower
from xmodal.towers.kinds.transformers import TransformersTower

# ------------------------------------------------------------------------------------------------ values and merging


def test_values_and_defaults(write: Any) -> None:
    config = load_config(write(RUN + "optim: {lr: 1e-3, rules: [{match: bias, lr_scale: 0}]}\n"))
    assert config.optim.lr == 0.001
    assert config.optim.rules[0].lr_scale == 0
    assert config.towers["speech"].width == 96
    assert config.train.steps == RunConfig.model_fields["train"].default.steps
    assert config.output == Path("runs/a")


def test_null_takes_away_what_was_inherited(write: Any) -> None:
    three = "  image: {kind: image_encoder}\npairs: [[speech, text], [image, text]]\n"
    base = write(RUN + three + "evaluators:\n  words: {kind: retrieval, test: a.jsonl}\n", "base/b.yaml")
    own = "base: base/b.yaml\noutput: runs/b\nevaluators: {words: null}\ntowers: {image: null}\npairs: []\n"
    removed = ["evaluators.words=null", "towers.image=null", "pairs=[]"]
    for config in (load_config(write(own)), load_config(base, removed)):
        assert (dict(config.evaluators), list(config.towers)) == ({}, ["text", "speech"])
    assert (list(load_config(base).evaluators), len(load_config(base).towers)) == (["words"], 3)


def test_null_where_nothing_was_is_a_mistake(write: Any) -> None:
    assert lines_of(write(RUN), "evaluators.words=null") == [
        "command line: evaluators.words=null: there is none to take away"
    ]
    assert lines_of(write(RUN), "towers.speach=null") == [
        "command line: towers.speach=null: there is none to take away; there: text, speech"
    ]


@pytest.mark.parametrize(
    ("overrides", "kept"),
    [
        (["evaluators.w=null", "evaluators.w={kind: retrieval, items: speech, test: b}"], ["b"]),
        (["evaluators.w={kind: retrieval, items: speech, test: b}", "evaluators.w=null"], []),
        (
            ["evaluators.w=null", "evaluators.w.kind=retrieval", "evaluators.w.items=speech", "evaluators.w.test=b"],
            ["b"],
        ),
        (["evaluators=null", "evaluators.v={kind: retrieval, items: speech, test: b}"], ["b"]),
        (["evaluators=null"], []),
    ],
)
def test_of_taking_away_and_giving_the_later_wins(write: Any, overrides: list[str], kept: list[str]) -> None:
    path = write(RUN + "evaluators:\n  w: {kind: retrieval, items: speech, test: a}\n")
    assert [str(spec.test) for spec in load_config(path, overrides).evaluators.values()] == kept


def test_how_data_are_made_is_not_said_of_other_data(write: Any) -> None:
    base = write(RUN.replace("data: {", "data: {made_by: xmodal make, "), "base/b.yaml")
    assert load_config(base).data.made_by == "xmodal make"
    assert load_config(base, ["data.train=mine.jsonl"]).data.made_by is None
    assert load_config(base, ["data.train=mine.jsonl", "data.made_by=me"]).data.made_by == "me"
    assert load_config(base, ["data={train: mine.jsonl, made_by: me}"]).data.made_by == "me"
    assert load_config(base, ["data.train=data/train.jsonl"]).data.made_by == "xmodal make"  # the same
    own = write("base: base/b.yaml\noutput: runs/b\ndata: {train: mine.jsonl}\n")
    assert load_config(own).data.made_by is None


def test_base_is_merged_key_by_key(write: Any) -> None:
    write(RUN + "train: {steps: 5, batch_size: 8}\n", "base/b.yaml")
    config = load_config(write("base: base/b.yaml\noutput: runs/b\ntrain: {steps: 7}\ntowers: {text: {name: other}}\n"))
    assert (config.output, config.train.steps, config.train.batch_size) == (Path("runs/b"), 7, 8)
    assert config.towers["text"].name == "other"
    assert config.towers["text"].max_length == 32


def test_changed_kind_replaces_the_mapping(write: Any) -> None:
    write(RUN + "objective: {kind: cwcl, anchor: both, kernel: {kind: power, power: 2}}\n", "b.yaml")
    config = load_config(write("base: b.yaml\nobjective: {kind: infonce, temperature: 0.1}\n"))
    assert config.objective == InfoNCE.Spec(temperature=0.1)
    config = load_config(write("base: b.yaml\nobjective: {kernel: {kind: exp}}\n"))
    assert isinstance(config.objective, CWCL.Spec)
    assert config.objective.anchor == "both"
    assert config.objective.kernel.kind == "exp"


def test_overrides(write: Any) -> None:
    path = write(RUN + "train: {best: null}\n")
    config = load_config(
        path,
        [
            "train.steps=12",
            "optim.lr=2e-4",
            "optim.betas=[0.8, 0.9]",
            "towers.text.revision='12e5'",
            "train.resume=true",
        ],
    )
    assert (config.train.steps, config.optim.lr, config.optim.betas) == (12, 0.0002, (0.8, 0.9))
    assert isinstance(config.towers["text"], TransformersTower.Spec)
    assert config.towers["text"].revision == "12e5"
    assert config.train.resume is True
    assert load_config(path, ["train.steps=1", "train.steps=2"]).train.steps == 2


@pytest.mark.parametrize("flip", [False, True])
def test_overriding_kind_keeps_only_what_overrides_give(write: Any, flip: bool) -> None:
    path = write(RUN + "objective: {kind: cwcl, kernel: {kind: exp, temperature: 0.3, centre: true}}\n")
    overrides = ["objective.kernel.kind=power", "objective.kernel.power=3"]
    config = load_config(path, overrides[::-1] if flip else overrides)
    assert config.objective == CWCL.Spec(kernel=Power(power=3.0))
    same = load_config(path, ["objective.kernel.kind=exp"])
    assert isinstance(same.objective, CWCL.Spec)
    assert same.objective.kernel.centre
    store = ["towers.text.path=s", "towers.text.tower={kind: transformers, name: bert}", "towers.text.kind=store"]
    tower = load_config(path, store[::-1] if flip else store).towers["text"]
    assert tower == StoreTower.Spec(path=Path("s"), tower=TransformersTower.Spec(name="bert"))


def test_an_override_by_a_mapping_replaces(write: Any) -> None:
    path = write(RUN + "evaluators: {a: {kind: speech_intent, test: t.jsonl}}\n")
    assert load_config(path, ["evaluators={}"]).evaluators == {}


def test_overrides_leave_aliases_and_files_alone(write: Any) -> None:
    path = write(RUN + "evaluators: {a: &e {kind: speech_intent, test: t.jsonl}, b: *e}\n")
    config = load_config(path, ["evaluators.a.trained=true"])
    assert (config.evaluators["a"].trained, config.evaluators["b"].trained) == (True, False)


# ------------------------------------------------------------------------------------------------- there and back


FULL = (
    RUN
    + """\
seed: 3
evaluators: {h: {kind: speech_intent, test: t.jsonl, names: n.json}}
objective: {kind: cwcl, kernel: {kind: perplexity, perplexity: 4}}
optim: {eps: 1e-8, rules: [{match: '^a', lr_scale: 0.1}]}
train: {best: h/accuracy_mean, chunk: 8}
"""
)


@pytest.mark.parametrize("text", [RUN, FULL])
def test_dump_loads_to_an_equal_config(write: Any, text: str) -> None:
    config = load_config(write(text))
    dumped = dump_config(config)
    assert load_config(write(dumped, "dumped.yaml")) == config
    plain = yaml.safe_load(dumped)  # plain YAML 1.1, whoever reads it
    assert plain["output"] == "runs/a"
    assert plain["optim"]["eps"] == 1e-8


@settings(derandomize=True, deadline=None)
@given(st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False) | st.integers() | st.booleans() | st.none()))
def test_yaml_there_and_back(tree: dict[str, Any]) -> None:
    assert read_yaml(write_yaml(tree)) == tree


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("-2E+4", -2e4), ("1.5e3", 1.5e3), (".5e1", 5.0), ("12", 12), ("1.5", 1.5), ("1e", "1e"),
     ("e3", "e3"), ("1e3x", "1e3x"), ("'1e3'", "1e3"), ("true", True), ("", None), ("a b", "a b"),
     ("2026-11-22", "2026-11-22"), ("2026-13-45", "2026-13-45")],
)  # fmt: skip
def test_numbers(text: str, value: Any) -> None:
    found = read_yaml(text)
    assert (found, type(found)) == (value, type(value))


def test_differences_name_the_keys(write: Any) -> None:
    path = write(FULL)
    old = load_config(path)
    assert config_differences(old, old) == []
    new = load_config(path, ["train.steps=7", "optim.betas=[0.5, 0.6]", "objective.kernel.kind=affine"])
    assert config_differences(old, new) == [
        "objective.kernel.kind: perplexity -> affine",
        "objective.kernel.perplexity: 4.0 -> not set",
        "optim.betas: [0.9, 0.98] -> [0.5, 0.6]",
        "train.steps: 1000 -> 7",
    ]
    back = "objective.kernel.perplexity: not set -> 4.0"
    assert back in config_differences(new, old)


# ------------------------------------------------------------------------------------------------------------ imports


def test_config_imports_no_torch() -> None:
    code = (
        "import sys, xmodal.config, xmodal.errors\n"
        "heavy = {'torch', 'transformers', 'accelerate', 'datasets', 'sklearn', 'numpy', 'pandas'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
