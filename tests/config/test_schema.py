"""The specs: defaults that stand on their own, which tower guides which, and what the validators refuse."""

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from xmodal.config import data, schema, train_spec
from xmodal.config.data import AudioModality, DataSpec, TextModality
from xmodal.config.kinds import HEADS, TOWERS
from xmodal.config.schema import RunConfig
from xmodal.config.spec import Spec
from xmodal.towers.heads import Linear
from xmodal.towers.kinds.store import StoreTower
from xmodal.towers.kinds.timm import TimmTower
from xmodal.towers.kinds.transformers import TransformersTower
from xmodal.towers.own.speech_encoder import SpeechEncoderTower

MODULES = (data, schema, train_spec)
SPECS = [
    s
    for m in MODULES
    for s in vars(m).values()
    if isinstance(s, type) and issubclass(s, Spec) and s.__module__ == m.__name__
]
SPECS += [registry.spec(kind) for registry in (HEADS, TOWERS) for kind in registry.own]
TEXT = TransformersTower.Spec(name="bert")
SPEECH = SpeechEncoderTower.Spec()
STORE = StoreTower.Spec(path=Path("s"), tower=TEXT)
IMAGE = {"kind": "image_encoder"}
STORED = {"kind": "store", "path": "s", "tower": {"kind": "timm", "name": "x", "mode": "locked"}}


def run(towers: dict[str, Any], **rest: Any) -> RunConfig:
    return RunConfig.model_validate({"output": "runs/a", "data": {"train": "t.jsonl"}, "towers": towers, **rest})


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.__qualname__)
def test_defaults_pass_their_own_checks(spec: type[BaseModel]) -> None:
    given = {"name": "a", "path": "a", "tower": TEXT, "train": "a", "test": "a", "match": "a", "output": "a"}
    given |= {"side": "visual", "bundle": "a"}
    given |= {"data": DataSpec(train=Path("a")), "towers": {"text": TEXT, "speech": SPEECH}}
    required = {name: given[name] for name, known in spec.model_fields.items() if known.is_required()}
    if "audio" in spec.model_fields:  # an ONNX graph takes one of three sorts of items
        required["audio"] = {"sample_rate": 8000}
    built = spec.model_validate(required)
    # Defaults are not checked by pydantic: written out and read in again, they are.
    assert spec.model_validate(built.model_dump(mode="json")) == built


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.__qualname__)
def test_specs_are_frozen_and_closed(spec: type[BaseModel]) -> None:
    assert spec.model_config["frozen"] is True
    assert spec.model_config["extra"] == "forbid"


@pytest.mark.parametrize("union", [data.ModalitySpec])
def test_kinds_of_a_union_are_told_apart(union: Any) -> None:
    members = get_args(get_args(union)[0])
    kinds = [m.model_fields["kind"].default for m in members]
    assert len(set(kinds)) == len(members)
    assert all(get_args(m.model_fields["kind"].annotation) == (kind,) for m, kind in zip(members, kinds, strict=True))


@pytest.mark.parametrize(
    ("towers", "pairs", "expected"),
    [
        ({"text": TEXT, "speech": SPEECH}, (), (("speech", "text"),)),
        ({"speech": SPEECH, "text": TEXT}, (), (("speech", "text"),)),
        ({"text": STORE, "speech": SPEECH}, (), (("speech", "text"),)),
        # both train: the second guides
        ({"text": TransformersTower.Spec(name="b", mode="unlocked"), "speech": SPEECH}, (), (("text", "speech"),)),
        ({"speech": SPEECH, "text": TransformersTower.Spec(name="b", mode="unlocked")}, (), (("speech", "text"),)),
        ({"text": TEXT, "speech": SPEECH}, (("speech", "text"),), (("speech", "text"),)),
        (
            {"text": TEXT, "speech": SPEECH, "audio": SPEECH},
            (("speech", "text"), ("audio", "text")),
            (("speech", "text"), ("audio", "text")),
        ),
    ],
)
def test_tower_pairs(towers: dict[str, Any], pairs: Any, expected: Any) -> None:
    assert run(towers, pairs=pairs).tower_pairs() == expected


def test_is_locked() -> None:
    assert [t.is_locked for t in (TEXT, SPEECH, STORE)] == [True, False, True]


def test_modality_is_the_standard_one_unless_said() -> None:
    config = run({"text": TEXT, "speech": SPEECH}, data={"train": "t", "modalities": {"text": {"kind": "audio"}}})
    assert config.modality("speech") == AudioModality()
    assert config.modality("text") == AudioModality()
    assert run({"text": TEXT, "speech": SPEECH}).modality("text") == TextModality()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"towers": {"image": {**STORED, "views": 2}, "speech": SPEECH}},
            "towers.image.views: all would be the same: set data.modalities.image.augment",
        ),
        (
            {
                "towers": {"image": STORED, "speech": SPEECH},
                "data": {"train": "t", "modalities": {"image": {"kind": "image", "augment": {"flip": 0.5}}}},
            },
            "data.modalities.image.augment: towers.image is read from a store and sees no augmentation",
        ),
        (
            {"objective": {"kind": "infonce", "keys": "store"}, "data": {"train": "t", "leave_out_labels": ["cat"]}},
            "objective.keys: store does not go with data.leave_out_labels",
        ),
        ({"towers": {}}, "at least 1"),
        ({"towers": {"speech": SPEECH}}, r"objective\.on: one tower makes no pair; name its side, as on: \[speech\]"),
        ({"towers": {"text": TEXT, "speech": STORE}}, "nothing to train: every tower is locked and has no head"),
        ({"towers": {"text": TEXT, "smell": SPEECH}}, "towers.smell: not a standard modality"),
        ({"pairs": [["speech", "txt"]]}, "pairs: 'txt' is not one of the towers"),
        ({"towers": {"text": TEXT, "speech": SPEECH, "audio": SPEECH}}, "3 towers need their pairs named"),
        ({"train": {"best": "held/accuracy"}}, "train.best: 'held/accuracy': expected EVALUATOR/METRIC"),
    ],
)
def test_a_run_that_makes_no_sense(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(ValidationError, match=line):
        run(**{"towers": {"text": TEXT, "speech": SPEECH}, **changes})


def test_a_head_is_enough_to_train() -> None:
    assert run({"text": TEXT, "speech": StoreTower.Spec(path=Path("s"), tower=TEXT, head=Linear.Spec())})


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"width": 10, "heads": 4}, "width 10 is not a multiple of heads 4"),
        ({"sample_rate": 8000}, "high 7600 Hz is above half the sample rate 8000; set high to at most 4000"),
        ({"low": 7600}, "low 7600 Hz is not below high 7600 Hz"),
        ({"mode": "locked"}, "need weights"),
        ({"weights": "runs/a"}, "weights goes with mode locked or unlocked"),
    ],
)
def test_speech_encoder_that_makes_no_sense(settings: dict[str, Any], line: str) -> None:
    with pytest.raises(ValidationError, match=line):
        SpeechEncoderTower.Spec.model_validate(settings)


@pytest.mark.parametrize(
    ("tower", "line"),
    [
        (SpeechEncoderTower.Spec(), "tower.mode is 'scratch': only a locked tower"),
        (TransformersTower.Spec(name="b", head=Linear.Spec()), "tower.head must be identity"),
    ],
)
def test_store_of_a_tower_that_moves(tower: Any, line: str) -> None:
    with pytest.raises(ValidationError, match=line):
        StoreTower.Spec(path=Path("s"), tower=tower)


@pytest.mark.parametrize(
    ("evaluator", "message"),
    [
        (
            {"kind": "zero_shot", "test": "t"},
            r"items: 'image' is not one of the towers \(text, speech\)",
        ),
        (
            {"kind": "retrieval", "test": "t", "items": "speech", "text": "words"},
            r"e\.text: 'words' is not",
        ),
        ({"kind": "speech_intent", "test": "t", "speech": "audio"}, r"evaluators\.e\.speech: 'audio' is not one of"),
        ({"kind": "retrieval", "test": "t", "items": "speech", "ks": []}, "at least 1 item"),
    ],
)
def test_evaluators_ask_for_towers_that_are_there(evaluator: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        run({"text": TEXT, "speech": SPEECH}, evaluators={"e": evaluator})


@pytest.mark.parametrize("name", ["a.b", "", "train", "keys", "../../evil", "1st"])
def test_names_of_towers(name: str) -> None:
    modalities = {name: {"kind": "audio"}}
    with pytest.raises(ValidationError, match="expected the name of a modality, such as speech"):
        run({"text": TEXT, name: SPEECH}, data={"train": "t.jsonl", "modalities": modalities})


@pytest.mark.parametrize(
    ("options", "message"),
    [({"num_classes": 5}, "num_classes is not for setting"), ({"global_pool": ""}, "leaves features unpooled")],
)
def test_options_of_timm_that_break_a_tower(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TimmTower.Spec(name="resnet18", options=options)


@pytest.mark.parametrize(
    ("train", "towers", "data", "line"),
    [
        ({"batch_size": 8, "batch_seconds": 60}, {"speech": SPEECH}, {}, "batch_size 8 and batch_seconds 60 both say"),
        ({"batch_size": None}, {"speech": SPEECH}, {}, "a batch has no size: set batch_size"),
        ({"batch_seconds": 0}, {"speech": SPEECH}, {}, "greater than 0"),
        ({"batch_seconds": 60}, {"speech": SPEECH}, {"streaming": True}, "items of a stream have no known length"),
        ({"batch_seconds": 60}, {"image": IMAGE}, {}, r"none of the towers \(image, text\) takes audio"),
        ({"batch_seconds": 60}, {"speech": STORED, "image": IMAGE}, {}, r"towers\.speech is read from a store, so no"),
    ],
)
def test_what_a_batch_is(train: dict[str, Any], towers: dict[str, Any], data: dict[str, Any], line: str) -> None:
    with pytest.raises(ValidationError, match=line):
        run(
            {**towers, "text": TEXT}, data={"train": "t.jsonl", **data}, train=train, pairs=[(list(towers)[-1], "text")]
        )


def test_batches_by_seconds_have_no_size() -> None:
    config = run({"text": TEXT, "speech": SPEECH}, train={"batch_seconds": 60})
    assert (config.train.batch_size, config.train.batch_seconds) == (None, 60)
    assert RunConfig.model_validate(config.model_dump()) == config
