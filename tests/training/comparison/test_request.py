"""What is asked for: objectives as they are typed and in a file, budgets, grids; needs; what is left out."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from xmodal.config.load import load_config
from xmodal.errors import UserError
from xmodal.training.comparison.needs import provide
from xmodal.training.comparison.plan import Plan, make_plan, untuned
from xmodal.training.comparison.request import Budget, Request, read_request


def asked(config: Path, *objectives: str, grid: tuple[str, ...] = (), **given: Any) -> Request:
    return read_request(config, given, objectives, grid)


def with_dev(config: Path) -> Path:
    """The tiny config, with an evaluator `dev` over the training recordings beside `held`."""
    values = yaml.safe_load(config.read_text())
    held = values["evaluators"]["held"]
    dev = {key: value for key, value in held.items() if key != "examples"}
    values["evaluators"]["dev"] = dev | {"test": held["test"].replace("test.jsonl", "train.jsonl")}
    config.write_text(yaml.safe_dump(values))
    return config


def planned(config: Path, *objectives: str, grid: tuple[str, ...] = (), **given: Any) -> Plan:
    return make_plan(asked(with_dev(config), *objectives, grid=grid, **given))


def test_objectives_as_they_are_typed(tiny_config: Path) -> None:
    typed = ["infonce", "cwcl:perplexity", "{kind: cwcl, kernel: {kind: power, power: 4}}", "{a: {kind: infonce}}"]
    found = asked(tiny_config, *typed).objectives
    assert {name: each.objective for name, each in found.items()} == {
        "infonce": {"kind": "infonce"},
        "cwcl:perplexity": {"kind": "cwcl", "kernel": {"kind": "perplexity"}},
        "cwcl kernel.kind=power kernel.power=4": {"kind": "cwcl", "kernel": {"kind": "power", "power": 4}},
        "a=infonce": {"a": {"kind": "infonce"}},
    }


def test_a_file_of_objectives(tiny_config: Path, tmp_path: Path) -> None:
    values = {
        "config": tiny_config.name,
        "output": str(tmp_path / "which"),
        "objectives": {
            "plain": "infonce",
            "sharp": {"objective": "cwcl:perplexity", "settings": {"kernel.perplexity": [4, 8]}},
            "both": {"kind": "cwcl", "anchor": "both"},
        },
        "seeds": 2,
        "budget": "100s",
    }
    path = tmp_path / "which.yaml"
    path.write_text(yaml.safe_dump(values))
    found = read_request(path, {"seeds": 5}, [], [])
    assert (found.config, found.seeds, found.budget) == (tiny_config.resolve(), 5, "100s")
    assert found.objectives["sharp"].settings == {"kernel.perplexity": (4, 8)}
    assert list(read_request(path, {}, ["both", "siglip"], []).objectives) == ["both", "siglip"]
    path.write_text(yaml.safe_dump(values | {"seedz": 2}))
    with pytest.raises(UserError, match=r"which\.yaml: seedz: unknown key; did you mean seeds\?"):
        read_request(path, {}, [], [])


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["infonce"], "--objectives: found 1, expected at least two to compare"),
        (["infonce", "cwlc"], "--objectives: 'cwlc' is not one of .*did you mean cwcl"),
        (["infonce", "cwcl:perplex"], "--objectives: cwcl:perplex: 'perplex' is not one of .*did you mean perplexity"),
        (["cwcl", "infonce:power"], "infonce:power: infonce has no kernel; name it as infonce"),
        (["cwcl", "cwcl"], "cwcl is named twice; name it once"),
        (["cwcl", "{kind: ["], "is not YAML"),
        (["cwcl", "{}"], r"--objectives: '\{\}': expected a mapping such as '\{kind: cwcl, temperature: 0.1\}'"),
        (["cwcl", "{a: 1}"], r"--objectives: '\{a: 1\}': a is 1, expected a term such as \{kind: cwcl\}"),
        (["cwcl", "{kind: infonce, temprature: 1}"], "objective.temprature: unknown key; did you mean .*temperature"),
    ],
)
def test_mistakes_are_one_line(tiny_config: Path, typed: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        make_plan(asked(tiny_config, *typed))
    assert "\n" not in str(error.value)


def test_what_dev_cannot_choose(tiny_config: Path, tmp_path: Path) -> None:
    """Settings of a file that an objective lacks, that have no value, or that a comparison sets itself."""
    settings: list[tuple[Any, dict[str, list[Any]]]] = [
        ({"kind": "siglip", "kernel": None}, {"kernel.power": [1, 2]}),
        ({"kind": "siglip", "temperature": 0.1}, {"temperature.to": [1, 2]}),
        ("siglip", {"train.steps": [1, 3]}),
        ("siglip", {"temperature": []}),
    ]
    told = []
    for objective, values in settings:
        entry = {"objective": objective, "settings": values}
        path = tmp_path / "which.yaml"
        path.write_text(
            yaml.safe_dump(
                {"config": str(tiny_config), "objectives": {"infonce": "infonce", "x": entry}, "dev": ["dev"]}
            )
        )
        with pytest.raises(UserError) as error:
            read_request(path, {}, [], [])
        told.append(str(error.value).removeprefix(f"{path}: objectives.x.settings."))
    lacks = "siglip has no such setting as it is given; see xmodal objectives, or name its kernel or schedule first"
    assert told == [
        f"kernel.power: {lacks}",
        f"temperature.to: {lacks}",
        "train.steps: a comparison sets it itself, the same for all; take it out (the length of a run is its budget)",
        "temperature: found 0, must be at least 1",
    ]


def test_a_setting_of_a_schedule_may_be_chosen(tiny_config: Path) -> None:
    falling = "{kind: siglip, weight: {schedule: linear, from: 1, to: 0.5}}"
    plan = planned(tiny_config, "infonce", falling, dev=["dev"], grid=("weight.to=0.1,0.2",))
    ends = [load_config(tiny_config, each.overrides).objective.weight for each in plan.candidates]
    assert [getattr(weight, "to", None) for weight in ends] == [None, 0.1, 0.2]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"budget": "soon"}, "--budget: found soon, expected a time such as 100s, 2m or 1h, or 500steps"),
        ({"dev": ["deb"]}, r"--dev: 'deb' is not one of the evaluators \(dev, held\)"),
        ({"dev": ["dev", "held"]}, "evaluators: none is left as a test"),
        ({"metric": "acc9"}, "--metric: acc9 is no metric of dev that is a mean over items; expected one of accuracy"),
        ({"grid": ("temperature=0.05,0.1",)}, "--dev: infonce has several settings, and no dev split to choose one by"),
        ({"grid": ("train.steps=1,3",)}, "--grid: train.steps: a comparison sets it itself, the same for all"),
        ({"grid": ("temperature",)}, "--grid: found 'temperature', expected key=value,value"),
        ({"grid": ("perplexity=4,8",)}, "--grid: no objective has a key perplexity"),
    ],
)
def test_what_cannot_be(tiny_config: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        planned(tiny_config, "infonce", "cwcl", **given)
    assert "\n" not in str(error.value)


def test_dev_is_not_the_test(tiny_config: Path) -> None:
    values = yaml.safe_load(tiny_config.read_text())
    values["evaluators"]["dev"] = values["evaluators"]["held"]
    tiny_config.write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match="--dev: dev and the test held are the same file"):
        make_plan(asked(tiny_config, "infonce", "cwcl", dev=["dev"]))


def test_budgets() -> None:
    assert [Budget.read(text) for text in ("100s", "1.5 m", "1h", "500steps", None)] == [
        Budget(seconds=100), Budget(seconds=90), Budget(seconds=3600), Budget(steps=500), Budget(),
    ]  # fmt: skip


def test_a_grid_is_for_those_that_have_the_key(tiny_config: Path) -> None:
    grid = ("temperature=0.05,0.1", "kernel.perplexity=4,8", "optim.lr=0.01")
    plan = planned(tiny_config, "infonce", "cwcl:perplexity", dev=["dev"], grid=grid, seeds=2)
    assert [(each.objective, each.setting) for each in plan.candidates] == [
        ("infonce", "temperature=0.05 optim.lr=0.01"), ("infonce", "temperature=0.1 optim.lr=0.01"),
        *(("cwcl:perplexity", f"temperature={t} kernel.perplexity={p} optim.lr=0.01")
          for t in (0.05, 0.1) for p in (4, 8)),
    ]  # fmt: skip
    run = plan.run_of(plan.candidates[3], 1, 40)
    config = load_config(tiny_config, run.overrides)
    assert (config.objective.temperature, config.objective.kernel.perplexity, config.optim.lr) == (0.05, 8, 0.01)
    assert (config.seed, config.train.steps, config.train.eval_every, list(config.evaluators)) == (1, 40, 5, ["dev"])
    assert (plan.tests, plan.metric) == (("held",), {"held": "accuracy_mean", "dev": "accuracy_prompt"})


def test_who_had_fewer_settings_is_known(tiny_config: Path) -> None:
    grid = ("temperature=0.05,0.1", "kernel.perplexity=4,8", "optim.lr=0.01,0.02")
    plan = planned(tiny_config, "infonce", "cwcl:perplexity", "triplet", dev=["dev"], grid=grid)
    lacking = {"infonce": ["kernel.perplexity"], "triplet": ["temperature", "kernel.perplexity"]}
    assert untuned(plan.request) == lacking
    assert untuned(planned(tiny_config, "infonce", "triplet").request) == {}


def test_needs_are_met_and_said(tiny_config: Path) -> None:
    values = yaml.safe_load(tiny_config.read_text())
    del values["data"]["modalities"]["speech"]["augment"]
    tiny_config.write_text(yaml.safe_dump(values))
    config = load_config(tiny_config, ["targets={}"])
    own = {"align": {"kind": "infonce"}, "slow": {"kind": "moco", "on": ["speech"], "queue": 16}}
    found = provide(config, "slow", own)
    assert found.said == [
        "targets.speech: momentum 0.996",
        "data.modalities.speech: training_views 2, augment noise 0.1",
    ]
    made = load_config(
        tiny_config, [*found.overrides, "objective={align: {kind: infonce}, slow: {kind: moco, on: [speech]}}"]
    )
    assert made.targets["speech"].momentum == 0.996
    assert made.modality("speech").training_views == 2
    assert provide(made, "plain", {"kind": "infonce"}).overrides == [
        "train.step=plain",
        "targets={}",
    ]  # nobody asks for it any more
    assert provide(made, "slow", own).said == []
    assert provide(config, "metaug", {"kind": "metaug"}).said == ["train.step: bilevel"]
    found = provide(config, "byol", {"kind": "byol"})  # the frozen side is its own target
    assert found.said == ["targets.speech: predictor mlp"]
    assert load_config(tiny_config, [*found.overrides, "objective={kind: byol}"]).targets["speech"].momentum is None


def test_what_cannot_be_run_is_left_out(tiny_config: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    rows = (tiny_pairs / "train.jsonl").read_text().replace('"label"', '"intent"')
    bare = tiny_pairs / f"{tmp_path.name}.jsonl"
    bare.write_text(rows)
    plan = make_plan(asked(tiny_config, "infonce", "siglip", "supcon", overrides=[f"data.train={bare}"]))
    assert plan.objectives == ["infonce", "siglip"]
    assert plan.left_out == {"supcon": f"it needs labels, and {bare} has no column label with any"}
    stored = "{kind: infonce, keys: store}"
    [why] = make_plan(asked(tiny_config, "infonce", "siglip", stored)).left_out.values()
    assert "objective.keys: store needs towers.text of kind store" in why
    assert (
        "kernel auto chooses by"
        in make_plan(asked(tiny_config, "infonce", "siglip", "cwcl:auto")).left_out["cwcl:auto"]
    )
    clusters = "data.clusters={side: speech, count: 4, refresh: 1}"
    own = ["objective={kind: supcon}", clusters, f"data.train={bare}"]
    plan = make_plan(asked(tiny_config, "infonce", "supcon", overrides=own))
    configs = [load_config(tiny_config, each.overrides) for each in plan.candidates]
    assert [each.data.clusters is None for each in configs] == [True, False]  # they are labels; infonce has no use
    with pytest.raises(UserError, match=r"--objectives: fewer than two can be compared \(supcon: it needs labels"):
        make_plan(asked(tiny_config, "infonce", "supcon", overrides=[f"data.train={bare}"]))
