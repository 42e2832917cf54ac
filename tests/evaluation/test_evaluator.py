"""Evaluators found through the registry: xmodal's own without heavy imports, and someone else's from YAML alone."""

import subprocess
import sys
from pathlib import Path

import pytest
from run_script import in_process

from xmodal.config.kinds import EVALUATORS
from xmodal.config.load import dump_config, load_config
from xmodal.errors import UserError
from xmodal.evaluation.classification.zero_shot import ZeroShot
from xmodal.evaluation.evaluator import build_evaluator, build_evaluators
from xmodal.report.report import read_report
from xmodal.training.trainer import Trainer

CLOSENESS = '''
"""Someone else's evaluator."""

from typing import Annotated

from pydantic import Field

from xmodal.config.evaluator_spec import EvaluatorSpec
from xmodal.encoding.embedding_cache import digest_of
from xmodal.evaluation.statistics.metrics import bootstrap_interval
from xmodal.evaluation.test_sets.labelled import read_labelled
from xmodal.report import Record, Report


class Closeness:
    class Spec(EvaluatorSpec):
        items: str = "speech"
        text: str = "text"
        power: Annotated[float, Field(gt=0)] = 1.0

        def sides(self):
            return {"items": self.items, "text": self.text}

    def __init__(self, spec, kinds):
        self.spec, self.modality = spec, spec.items
        self.test = read_labelled(spec.test, spec.items, kinds=kinds, further=[spec.text])
        self.texts, self.files = self.test.further[spec.text].tolist(), self.test.files

    def content(self):
        return digest_of(self.test.sources, self.texts)

    def metrics(self):
        return {"closeness"}

    def check(self):
        pass

    def evaluate(self, encoder, name, brief=False):
        z, rows, _ = encoder.encode_readable(self.modality, self.test.sources)
        cosines = (z * encoder.encode(self.spec.text, self.texts)[rows]).sum(1).numpy()
        closeness = ((1 + cosines) / 2) ** self.spec.power
        return Report([Record(name, "closeness", closeness.mean(), *bootstrap_interval(closeness), n=len(rows))])
'''


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The kind of an evaluator that stands in a package of its own."""
    package = tmp_path / "elsewhere" / "their_package"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "tests.py").write_text(CLOSENESS + "\n\nclass Half:\n    Spec = Closeness.Spec\n\n"
                                      "    def __init__(self, spec, kinds):\n        self.spec = spec\n")  # fmt: skip
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    yield "their_package.tests:Closeness"
    for name in [name for name in sys.modules if name.startswith("their_package")]:
        del sys.modules[name]


def test_the_example_is_short() -> None:
    assert len([line for line in CLOSENESS.splitlines() if line.strip()]) <= 40


def test_someone_elses_evaluator_trains_and_evaluates_from_yaml(
    tiny_config: Path, tiny_pairs: Path, tmp_path: Path, foreign: str, caplog: pytest.LogCaptureFixture
) -> None:
    text = tiny_config.read_text()
    text = text[: text.index("evaluators:")]
    text += f"evaluators:\n  near:\n    kind: {foreign}\n    test: {tiny_pairs / 'test.jsonl'}\n    power: 2\n"
    tiny_config.write_text(text)
    config = load_config(tiny_config, ["train.steps=4", "train.eval_every=2", "train.best=near/closeness"])
    (tmp_path / "again.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "again.yaml") == config
    report = Trainer(config).fit()
    value = report.value("closeness", "near")
    assert 0 < value < 1
    (tmp_path / "suite.yaml").write_text(f"near: {{kind: '{foreign}', test: {tiny_pairs / 'test.jsonl'}, power: 2}}\n")
    assert in_process("eval/zero_shot.py", tmp_path / "run", "--out", tmp_path / "untrusted") == 2
    assert f"evaluators.near: {foreign} is code from outside xmodal, and is left out" in caplog.text
    for more in (("--trust-remote-code",), ("--suite", tmp_path / "suite.yaml")):
        out = tmp_path / f"out{len(more)}"
        assert in_process("eval/zero_shot.py", tmp_path / "run", *more, "--out", out) == 0
        assert read_report(out).value("near/closeness") == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("evaluators.near.powr=3", "evaluators.near.powr: unknown key; did you mean evaluators.near.power?"),
        ("evaluators.near.power=0", "evaluators.near.power: 0 must be greater than 0"),
        ("evaluators.near.items=sound", "evaluators.near.items: 'sound' is not one of the towers (speech, text)"),
        ("evaluators.near={kind: 'their_package.tests:Far', test: t}", "their_package.tests:Far cannot be imported"),
        ("evaluators.near={kind: 'xmodal.towers.heads:Linear'}", "evaluators.near.kind: "),
        ("evaluators.near={kind: retrievel, test: t}", "did you mean retrieval?"),
    ],
)
def test_its_mistakes_have_the_same_lines(
    tiny_config: Path, tiny_pairs: Path, foreign: str, change: str, line: str
) -> None:
    near = f"evaluators.near={{kind: '{foreign}', test: {tiny_pairs / 'test.jsonl'}}}"
    with pytest.raises(UserError) as error:
        load_config(tiny_config, [near, change])
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_a_class_that_is_no_evaluator_says_what_it_lacks(tiny_pairs: Path, foreign: str) -> None:
    spec = EVALUATORS.spec(foreign)(kind="their_package.tests:Half", test=tiny_pairs / "test.jsonl")
    with pytest.raises(UserError, match=r"Half: no evaluator: it has no modality, files, content, metrics"):
        build_evaluator(spec, {})


def test_reading_a_config_imports_nothing_that_scores() -> None:
    """Counted in a process of its own: this one has everything."""
    program = (
        "import sys; from xmodal.config.kinds import EVALUATORS, TEMPLATE_SETS\n"
        "specs = [EVALUATORS.spec(kind)(test='t') for kind in EVALUATORS.own]\n"
        "heavy = {'torch', 'pandas', 'matplotlib', 'sklearn', 'scipy', 'datasets', 'transformers', 'open_clip'}\n"
        "print([spec.kind for spec in specs], sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{list(EVALUATORS.own)} []"


def test_specs_stand_on_their_own() -> None:
    for kind in EVALUATORS.own:
        spec = EVALUATORS.spec(kind)(test="t")
        assert spec.kind == kind
        assert type(spec).model_validate(spec.model_dump(mode="json")) == spec
        assert set(spec.sides()) <= set(type(spec).model_fields)
    assert ZeroShot.Spec(test="t").sides() == {"items": "image", "text": "text"}


@pytest.mark.parametrize("metric", ["accuracy_mean_among_test", "of_oracle_mean", "majority", "acc1"])
def test_best_by_a_metric_that_may_not_be_there_is_known_before_training(tiny_config: Path, metric: str) -> None:
    """The test has every intent of the examples, so there is no `_among_test`; an oracle may be never right."""
    with pytest.raises(UserError) as error:
        build_evaluators(load_config(tiny_config, [f"train.best=held/{metric}"]))
    assert str(error.value) == (
        f"train.best: no metric {metric!r} in held; expected one of accuracy_mean, accuracy_prompt, oracle_mean, "
        "oracle_prompt"
    )
