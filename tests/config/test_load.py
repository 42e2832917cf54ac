"""From YAML and a command line to a run's config: merging, overrides, and what every mistake says.

Over 300 lines: tables of mistakes, a line or two each.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from xmodal.config import RunConfig, config_differences, dump_config, load_config
from xmodal.config.kinds import OBJECTIVES
from xmodal.config.yaml_text import read_yaml, write_yaml
from xmodal.errors import UserError
from xmodal.objectives import CWCL, InfoNCE
from xmodal.objectives.kernels import Power
from xmodal.towers.kinds.store import StoreTower
from xmodal.towers.kinds.transformers import TransformersTower

TOWERS = "transformers, open_clip, timm, speech_encoder, image_encoder, text_encoder, onnx, torchaudio, store, run"
OWN = ", ".join(OBJECTIVES.own)
RUN = """\
output: runs/a
data: {train: data/train.jsonl}
towers:
  text: {kind: transformers, name: bert, max_length: 32}
  speech: {kind: speech_encoder, width: 96, heads: 4}
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write_file(text: str, name: str = "x.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def lines_of(path: Path, *overrides: str) -> list[str]:
    """The mistakes, the file's path taken off."""
    with pytest.raises(UserError) as error:
        load_config(path, overrides)
    return [line.replace(f"{path}: ", "") for line in str(error.value).splitlines()]


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


# --------------------------------------------------------------------------------------------------------- mistakes


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


# ------------------------------------------------------------------------------------------------------------ speed


def test_config_imports_no_torch() -> None:
    code = (
        "import sys, xmodal.config, xmodal.errors\n"
        "heavy = {'torch', 'transformers', 'accelerate', 'datasets', 'sklearn', 'numpy', 'pandas'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_loading_takes_milliseconds(write: Any) -> None:
    path = write(FULL)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        load_config(path)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.1  # measured 0.005 on one core; the margin is for a busy machine


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
