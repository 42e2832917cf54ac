"""Terms, targets and views that do not fit the rest of a config: one line each, with the way out."""

import json
from pathlib import Path
from typing import Any

import pytest

from xmodal.config.kinds import OBJECTIVES
from xmodal.config.load import load_config
from xmodal.config.terms.terms import RESERVED
from xmodal.errors import UserError, run_script

RUN = """
output: runs/a
data: {train: t.jsonl}
towers: {speech: {kind: speech_encoder}, text: {kind: transformers, name: bert}}
"""
OWN = ", ".join(OBJECTIVES.own)
STORE = "{kind: store, path: s, tower: {kind: transformers, name: b}}"
TAUGHT = ["objective={kind: distillation}", f"teachers={{speech: {STORE}, text: {STORE}}}"]
VIEWS = "data.modalities.speech={kind: audio, training_views: 2, augment: {noise: 0.1}}"
BYOL = "objective={a: {kind: byol, on: [speech]}, b: {kind: cwcl}}"
TWO = "{a: {kind: cwcl}, b: {kind: nt_xent, on: [speech]}}"


def test_terms_are_read_by_name_and_written_as_they_are(write: Any) -> None:
    views = "data.modalities.speech={kind: audio, training_views: 2, augment: {noise: 0.1}}"
    config = load_config(write(RUN + f"objective: {TWO}\n"), [views, "objective.b.weight=0.5"])
    assert list(config.term_specs()) == ["a", "b"]
    assert config.groups(config.objective["a"]) == (("speech", "text"),)
    assert config.groups(config.objective["b"]) == (("speech",),)
    assert config.model_dump(mode="json")["objective"]["b"]["weight"] == 0.5


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["objective={a: {kind: cwcl, on: [speech, txt]}}"],
         "objective.a.on: 'txt' is not one of the towers (speech, text)"),
        (["objective={a: {kind: cwcl, on: [speech]}}"], "objective.a: cwcl is for 2 sides, found 1 (speech)"),
        (["objective={a: {kind: cwcl, on: [speech, speech]}}"],
         "objective.a.on: ['speech', 'speech'] names a side twice; views of one side: on: [speech]"),
        (["objective={items: {kind: cwcl}}"], "objective.items: 'items': expected the name of a term, such as align: "
         "letters, digits and _"),
        ([f"objective={TWO}"], "objective.b: nt_xent needs 2 views of each item of speech, found 1; "
         "set data.modalities.speech={kind: audio, training_views: 2, augment: {noise: 0.1}}"),
        (["objective={kind: moco}", "towers.text.mode=unlocked"], "objective: moco needs a momentum target of text; "
         "set targets.text={momentum: 0.996}"),
        (["objective={kind: local_global}"], "objective: local_global needs the steps that speech's head pools, and "
         "its head linear sees none; set a head over sequences: towers.speech.head={kind: transformer}"),
        ([BYOL, VIEWS, "targets={speech: {momentum: null, predictor: {kind: mlp}}}"],
         "objective.a: byol needs a momentum target of speech; set targets.speech.momentum=0.996"),
        (["objective={kind: byol}"],
         "objective: byol needs a predictor of speech; set targets.speech={momentum: null, predictor: {kind: mlp}}"),
        (["objective={kind: byol}", "towers.text.mode=unlocked", "targets={text: {}}"],
         "objective: byol needs a predictor of speech; set targets.speech={momentum: null, predictor: {kind: mlp}}"),
        ([BYOL, VIEWS], "objective.a: byol needs a momentum target and a predictor of speech; "
         "set targets.speech={momentum: 0.996, predictor: {kind: mlp}}"),
        ([BYOL, VIEWS, "targets={speech: {every: 100}}"],
         "objective.a: byol needs a predictor of speech; set targets.speech.predictor={kind: mlp}"),
        (["objective={kind: byol, symmetric: true}", "targets={speech: {predictor: {kind: mlp}}}"],
         "objective: byol needs a predictor of text, of which nothing trains; name the side that trains first, and one "
         "direction"),
        (["objective={kind: simsiam}", "targets={speech: {predictor: {kind: mlp}}}"],
         "targets.speech: no term of the objective asks for a copy of the tower, only for its predictor; give it as "
         "{momentum: null, predictor: ...}"),
        (["targets={speech: {momentum: 0.9, every: 100}}"], "targets.speech: every: a past checkpoint takes the place "
         "of a momentum target; set momentum: null"),
        (["targets={speech: {momentum: null}}"], "targets.speech: momentum: null is for a predictor by itself, and "
         "none is given; set momentum: 0.996"),
        (["targets={speech: {every: 0}}"], "targets.speech.every: 0 must be at least 1"),
        (["targets={speech: {momentum: {schedule: cosine, from: 0.9, to: 1.1}}}"],
         "targets.speech.momentum: to: 1.1 must be at most 1, as every value of the schedule"),
        (["objective={kind: moco, queue: 9}", "train.batch_size=10"], "objective.queue: 9 places, and a batch has 10: "
         "of each batch it would drop a part; set it to at least 10"),
        (["objective={kind: cwcl, temperature: {schedule: linear, from: 0.1, to: 0}, learnable: false}"],
         "objective.temperature: to: 0 must be greater than 0, as every value of the schedule"),
        (["objective={a: {kind: cwcl, weight: {schedule: cosine, from: 1, to: -1}}}"],
         "objective.a.weight: to: -1 must be at least 0, as every value of the schedule"),
        (["targets={speech: {momentum: 1.5}}"], "targets.speech.momentum: 1.5 must be at most 1"),
        (["targets={speech: {}}"], "targets.speech: no term of the objective asks for it; take it out"),
        (["targets={text: {}}"], "targets.text: nothing of this tower trains, so it is its own target; take it out"),
        (["targets={image: {}}"], "targets.image: not one of the towers (speech, text)"),
        (["objective={kind: distillation}", f"teachers.speech={STORE}"], "objective: distillation needs a teacher of "
         "text; set teachers.text={kind: store, path: FOLDER, tower: {kind: run, path: RUN, side: text}}, "
         "or with a tower of another kind"),
        ([f"teachers.text={STORE}"], "teachers.text: no term of the objective asks for it; take it out"),
        ([f"teachers.image={STORE}"], "teachers.image: not one of the towers (speech, text)"),
        (["objective={kind: distillation}", f"teachers.speech={STORE}", "teachers.text={kind: transformers, name: b}"],
         "teachers.text.kind: 'transformers': a teacher does not move, so it runs once and is read from a store; "
         "set teachers.text={kind: store, path: FOLDER, tower: {kind: transformers, ...}}"),
        ([*TAUGHT, "teachers.text.head={kind: linear}"],
         "teachers.text.head: nothing of a teacher trains; leave it out"),
        ([*TAUGHT, "teachers.text.views=2"], "teachers.text.views: a teacher sees each item as it is; leave it out"),
        ([*TAUGHT, "teachers.text.tower.mode=unlocked"],
         "teachers.text: tower.mode is 'unlocked': only a locked tower can be read from a store"),
        (["objective={kind: momentum_targets}", "towers.text.mode=unlocked", "targets={speech: {}}"],
         "objective: momentum_targets needs a momentum target of text; set targets.text={momentum: 0.996}"),
        (["objective={kind: 'no_such_package.losses:It'}"], "objective.kind: 'no_such_package.losses:It': "
         "no_such_package.losses:It cannot be imported (No module named 'no_such_package': "
         "install its package, start in the folder where it lies, or correct the name)"),
        (["objective={kind: 'json:JSONDecoder'}"],
         "objective.kind: 'json:JSONDecoder': json:JSONDecoder is no objective: it does not derive from "
         "xmodal.objectives.objective.Objective; name another class"),
        (["objective={kind: 'xmodal.towers.heads:Linear'}"],
         "objective.kind: 'xmodal.towers.heads:Linear': xmodal.towers.heads:Linear is no objective: it does not derive "
         "from xmodal.objectives.objective.Objective; name another class"),
        (["objective={kind: infonce, weight: 0}"],
         "objective.weight: 0, and no other term counts: nothing would train; set it above 0"),
        (["objective={a: {kind: infonce, weight: {schedule: linear, from: 0, to: 0}}}"],
         "objective.a.weight: 0, and no other term counts: nothing would train; set it above 0"),
        (["objective={a: infonce}"], "objective.a: 'infonce' must be a mapping, as {kind: infonce}"),
        (["objective={kind: cwcl, kernel: auto}"], "objective.kernel: 'auto' must be a mapping, as {kind: auto}"),
        (["objective={align: {kind: cwcl}, x: 3}"], "objective.x: 3 must be a mapping of keys to values"),
        (["objective={weight: {kind: cwcl}}"],
         "objective.weight: 'weight': expected the name of a term, such as align: letters, digits and _"),
        (["objective={kind: cwcl, learnable: false, temperature: {schedule: warmup, to: 0.1}}"],
         "objective.temperature: from: 0 must be greater than 0, as every value of the schedule"),
        (["objective={a: 3}"], f"objective.kind: missing; give one of {OWN}"),
        (["train.step=twice"], "train.step: 'twice' is not one of plain, bilevel"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_line(
    write: Any, overrides: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(RUN)
    assert run_script(lambda argv: load_config(path, argv), overrides) == 2
    [told] = capsys.readouterr().err.splitlines()
    assert told.split(": ", 2)[2] == line


def test_names_that_torch_keeps_for_itself() -> None:
    from torch import nn

    own = {name: getattr(nn.ModuleDict(), name) for name in dir(nn.ModuleDict()) if not name.startswith("_")}
    # other libraries add some of theirs
    torchs = {name for name, value in own.items() if getattr(value, "__module__", "torch").startswith("torch")}
    assert torchs <= RESERVED


def test_later_overrides_win_whatever_their_form(write: Any) -> None:
    path = write(RUN)
    config = load_config(path, ["objective={a: {kind: cwcl}, b: {kind: infonce}}", "objective.a.kind=siglip"])
    assert [spec.kind for spec in config.term_specs().values()] == ["siglip", "infonce"]
    config = load_config(write(RUN + "objective: {a: {kind: cwcl}}\n"), ["objective.kind=infonce"])
    assert config.objective.kind == "infonce"
    with pytest.raises(UserError, match=r"towers\.text\.head\.kind: 'nonsense' is not one of"):
        load_config(path, ["towers.text.head={kind: linear}", "towers.text.head.kind=nonsense"])


def test_the_advice_on_views_works(write: Any) -> None:
    path = write(RUN)
    with pytest.raises(UserError) as error:
        load_config(path, [f"objective={TWO}"])
    advice = str(error.value).rpartition("; set ")[2]
    assert load_config(path, [f"objective={TWO}", advice]).modality("speech").training_views == 2


def test_two_terms_of_one_name_are_told(write: Any) -> None:
    with pytest.raises(UserError, match="key 'a' is given twice"):
        load_config(write(RUN + "objective:\n  a: {kind: cwcl}\n  a: {kind: infonce}\n"))


def test_several_mistakes_are_several_lines(write: Any) -> None:
    overrides = ["objective={a: {kind: cwcl, on: [speech]}, b: {kind: cwcl, on: [text, image]}}"]
    with pytest.raises(UserError) as error:
        load_config(write(RUN), overrides)
    assert len(str(error.value).splitlines()) == 2


def test_one_objective_in_a_file_replaces_several_of_its_base(write: Any, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(RUN + f"objective: {TWO}\n")
    config = load_config(write("base: base.yaml\nobjective: {kind: infonce}\n"))
    assert config.objective.kind == "infonce"
    (tmp_path / "base.yaml").write_text(RUN + "objective: {kind: cwcl, anchor: both}\n")
    config = load_config(write("base: base.yaml\nobjective: {a: {kind: infonce}}\n"))
    assert list(config.objective) == ["a"]


def test_a_stream_has_no_ids_by_which_a_teacher_is_read(write: Any) -> None:
    with pytest.raises(UserError, match=r"data\.streaming: teachers\.speech is read from a store, .* leave streaming"):
        load_config(write(RUN), [*TAUGHT, "data.streaming=true"])


def test_a_target_is_a_slow_copy_a_past_checkpoint_or_none(write: Any) -> None:
    path = write(RUN)
    predictor = "predictor: {kind: mlp}"
    run = load_config(path, [BYOL, VIEWS, f"targets={{speech: {{every: 100, {predictor}}}}}"])
    again = load_config(write(RUN), [BYOL, VIEWS, f"targets={json.dumps(run.model_dump(mode='json')['targets'])}"])
    for config in (run, again):  # as it is written, so it is read
        assert (config.targets["speech"].every, config.targets["speech"].momentum) == (100, None)
        assert config.targets["speech"].copies
    alone = load_config(path, ["objective={kind: simsiam}", f"targets={{speech: {{momentum: null, {predictor}}}}}"])
    assert not alone.targets["speech"].copies
