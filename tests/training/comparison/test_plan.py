"""What a comparison is held to: one config for all but what it compares, data that stay, folders of its own."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_request import planned, with_dev

from xmodal.config.load import load_config
from xmodal.config.schema import RunConfig
from xmodal.errors import UserError
from xmodal.runs.lock import hold, release, require_idle
from xmodal.training.comparison.compare_objectives import ASKED, claim
from xmodal.training.comparison.plan import LONGEST, Plan
from xmodal.training.sweeps.sweep import overrides_of


@pytest.fixture
def own_config(tiny_config: Path, tiny_pairs: Path, tmp_path: Path) -> Path:
    """The tiny config over a copy of the data, which a test may change."""
    copied = shutil.copytree(tiny_pairs, tmp_path / "own_pairs")
    tiny_config.write_text(tiny_config.read_text().replace(str(tiny_pairs), str(copied)))
    return tiny_config


def configs(plan: Plan) -> list[RunConfig]:
    """Of every candidate's first run, as the command line that trains it is read."""
    return [load_config(plan.request.config, overrides_of(plan.run_of(each, 0, 2), 1)) for each in plan.candidates]


def test_what_is_set_for_all_stays_and_never_undoes_what_is_compared(tiny_config: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"dev": ["dev"], "output": tmp_path / "odd #1 [x]: y"}
    given["overrides"] = ["evaluators.dev.prompts=plain", "optim.lr=0.01", "train.step=bilevel"]
    plan = planned(tiny_config, "infonce", "moco", grid=("temperature=0.05,0.1",), **given)
    found = configs(plan)
    assert [each.objective.temperature for each in found] == [0.05, 0.1, 0.05, 0.1]
    assert {each.optim.lr for each in found} == {0.01}
    assert {each.train.step for each in found} == {"plain"}  # what an objective needs is no setting for all
    assert {each.evaluators["dev"].model_dump()["prompts"] for each in found} == {"plain"}
    assert [each.output for each in found] == [plan.run_of(each, 0, 2).folder for each in plan.candidates]
    with pytest.raises(UserError, match=r"--set: objective.temperature=0.07: each objective is its own; .*--grid temp"):
        planned(tiny_config, "infonce", "cwcl", overrides=["objective.temperature=0.07"])
    with pytest.raises(UserError, match=r"--grid: temperature is given twice; .* as temperature=0.1,0.2"):
        planned(tiny_config, "infonce", "cwcl", grid=("temperature=0.1", "temperature=0.2"))


def test_a_long_objective_has_a_folder_that_every_disk_takes(tiny_config: Path) -> None:
    long = "{align: {kind: cwcl, temperature: 0.1, learnable: false, max_scale: 50, kernel: {kind: power, power: 4}}}"
    other = long.replace("power: 4", "power: 5")
    stems = [each.stem for each in planned(tiny_config, long, other).candidates]
    assert len(set(stems)) == 2
    assert max(map(len, stems)) == LONGEST


def test_dev_is_no_copy_of_the_test(own_config: Path) -> None:
    values = yaml.safe_load(with_dev(own_config).read_text())
    test = Path(values["evaluators"]["held"]["test"])
    copied = shutil.copy(test, test.with_name("copy.jsonl"))
    with pytest.raises(UserError, match="--dev: dev and the test held are the same file, or copies"):
        planned(own_config, "infonce", "cwcl", dev=["dev"], overrides=[f"evaluators.dev.test={copied}"])


def test_data_that_change_are_not_mixed_and_a_damaged_record_is_told(own_config: Path, tmp_path: Path) -> None:
    out = tmp_path / "which"
    out.mkdir()
    (out / f"{ASKED}.host-1.tmp").write_text("{")  # of a call that was killed
    given: dict[str, Any] = {"dev": ["dev"], "output": out}
    claim(planned(own_config, "infonce", "cwcl", **given))
    claim(planned(own_config, "infonce", "cwcl", **given))
    asked = json.loads((out / ASKED).read_text())
    test = Path(asked["config"]["evaluators"]["held"]["test"])
    rows = test.read_text().splitlines(keepends=True)
    test.write_text("".join(rows[:-1]))
    with pytest.raises(UserError, match=r"evaluators.held: its data have changed since .*which began with them"):
        claim(planned(own_config, "infonce", "cwcl", **given))
    test.write_text("".join(rows))
    train = Path(asked["config"]["data"]["train"])
    train.write_text(train.read_text() + "\n")
    with pytest.raises(UserError, match=r"data.train: its data have changed"):
        claim(planned(own_config, "infonce", "cwcl", **given))
    (out / ASKED).write_text(json.dumps({key: asked[key] for key in ("comparison", "config")}))  # of a version before
    claim(planned(own_config, "infonce", "cwcl", **given))
    for damage, told in (('{"a":', r"comparison.json: cannot be read"), ('{"a": 1}', "is no comparison's")):
        (out / ASKED).write_text(damage)
        with pytest.raises(UserError, match=told):
            claim(planned(own_config, "infonce", "cwcl", **given))


def test_one_process_trains_in_a_folder(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from xmodal.runs.lock import hold; hold(Path(sys.argv[1]))"

    def by_another() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    hold(tmp_path)
    hold(tmp_path)
    require_idle(tmp_path)  # of its own it is no other
    assert "another process trains there" in by_another().stderr
    release(tmp_path)
    release(tmp_path)
    assert by_another().returncode == 0  # and what ended holds nothing
    require_idle(tmp_path)
    require_idle(tmp_path / "none")
