"""Template sets: what the shipped ones hold, those of other packages, and what a wrong set says."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from xmodal.config.kinds import TEMPLATE_SETS
from xmodal.config.registry import Registry
from xmodal.errors import UserError
from xmodal.prompts import (
    fill,
    load_templates,
    shipped,
    template_sets,
    templates,
)

# CLIP_benchmark's names, where they are others than ours
THEIRS = {
    "aircraft": "fgvc_aircraft",
    "cifar": "cifar10",
    "clevr_counts_clip_benchmark": "clevr_count_all",
    "flowers102": "flowers",
    "imagenet80": "imagenet1k",
    "pcam_clip_benchmark": "pcam",
    "resisc45_clip_benchmark": "resisc45",
    "sst2": "renderedsst2",
}


@pytest.mark.parametrize("name", template_sets())
def test_shipped_sets_are_distinct_sentences_with_one_slot(name: str) -> None:
    found = load_templates(name)
    assert len(found) >= 1
    assert len(set(found)) == len(found)
    assert all(t.count("{c}") == 1 and t == " ".join(t.split()) for t in found)


def test_name_and_plain_are_the_name_itself_and_photo_a_caption() -> None:
    for name in ("name", "plain"):
        assert fill(load_templates(name), "seven") == ["seven"]
    assert fill(load_templates("photo"), "cat") == ["a photo of a cat."]


@pytest.mark.parametrize(
    "name",
    [
        *("aircraft", "caltech101", "cars", "cifar", "clevr_counts_clip_benchmark", "country211", "dtd", "eurosat"),
        *("fer2013", "flowers102", "food101", "gtsrb", "imagenet80", "mnist", "pcam_clip_benchmark", "pets"),
        *("resisc45_clip_benchmark", "sst2", "stl10", "sun397", "svhn", "voc2007"),
    ],
)
def test_sets_of_data_sets_are_those_of_clip_benchmark(name: str) -> None:
    found = find_spec("clip_benchmark")
    if found is None or found.origin is None:
        pytest.skip("clip_benchmark is not installed")
    text = (Path(found.origin).parent / "datasets" / "en_zeroshot_classification_templates.json").read_text()
    assert load_templates(name) == json.loads(text)[THEIRS.get(name, name)]


def test_sets_that_clip_published_and_clip_benchmark_has_not() -> None:
    """Typed from CLIP's data/prompts.md."""
    assert load_templates("birdsnap") == ["a photo of a {c}, a type of bird."]
    assert load_templates("clevr_counts") == ["a photo of {c} objects."]
    assert load_templates("pcam") == ["this is a photo of {c}"]
    resisc45 = load_templates("resisc45")
    assert len(resisc45) == 18
    assert resisc45[:3] == ["satellite imagery of {c}.", "aerial imagery of {c}.", "satellite photo of {c}."]
    assert resisc45[6:18:11] == ["satellite imagery of a {c}.", "aerial view of the {c}."]


def test_the_cifar_set_and_the_training_set_share_nothing() -> None:
    cifar, image = load_templates("cifar"), load_templates("image")
    assert len(cifar) == len(set(cifar)) == 18
    assert [t.replace(" the ", " a ") for t in cifar[9:]] == cifar[:9]
    assert not {t.rstrip(".") for t in cifar} & {t.rstrip(".") for t in image}


def test_fill_keeps_order_and_other_braces() -> None:
    assert fill(["{c}", "a {c} of {d} and {c}"], "cup") == ["cup", "a cup of {d} and cup"]


def test_own_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text('- "{c}"\n- say {c}\n')
    assert load_templates(path) == load_templates(str(path)) == ["{c}", "say {c}"]


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ("speech_intents", r"'speech_intents' among .*plain.*speech_intent.*; did you mean speech_intent\?"),
        ("Food101", r"among aircraft, .*food101.*imagenet80.*; did you mean food101\?"),
        ("flowers", r"did you mean flowers102\?"),
        ("clip", r"no template set 'clip'"),  # a file of ours that is no set
        ("synonyms", r"no template set 'synonyms' among .*; name one of these, or a YAML file"),
    ],
)
def test_unknown_set_names_the_known_and_the_nearest(wrong: str, line: str) -> None:
    with pytest.raises(UserError, match=line) as error:
        load_templates(wrong)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("file", "text", "line"),
    [
        ("mine.yaml", "", "no templates; expected sentences with {c} for the class name, as a YAML list"),
        ("mine.yaml", "[]", "no templates"),
        ("mine.txt", "\n \n", "no templates; expected sentences with {c} for the class name, one a line"),
        ("mine.yaml", "a: 1", "as a YAML list, found {'a': 1}"),
        ("mine.yaml", "a photo of a {c}", "as a YAML list, found 'a photo of a {c}'"),
        ("mine.yaml", '- "{c}"\n- no slot here', "template 2, 'no slot here': expected {c} where the class name goes"),
        ("mine.txt", "{c}\na photo of {}", "template 2, 'a photo of {}': expected {c} where the class name goes"),
        ("mine.yaml", "- {c}", "template 1, {'c': None}: expected a sentence in quotes"),  # without quotes a mapping
        ("mine.yaml", "- [", "expected sentences with {c}"),
        ("mine.txt", b"caf\xe9 {c}", "can't decode byte 0xe9 in position 3"),
        ("mine.yaml", '- a {c}\n- "{c}"\n- a {c}', "template 3, 'a {c}', is template 1 again; remove one of them"),
        ("mine.yaml", '- a {c}\n- "a {c} "', "template 2, 'a {c} ', is template 1 again"),
        ("mine.txt", "a {c}\n\na {c}\n", "template 2, 'a {c}', is template 1 again"),
    ],
)
def test_wrong_file_says_where(tmp_path: Path, file: str, text: str | bytes, line: str) -> None:
    path = tmp_path / file
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=re.escape(line)) as error:
        load_templates(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_two_slots_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("a {c} beside a {c}\n")
    assert fill(load_templates(path), "cup") == ["a cup beside a cup"]


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such template file"):
        load_templates(tmp_path / "none.yaml")


def test_shipped_sets_are_all_in_the_registry() -> None:
    """The table of names and the files agree."""
    folder = Path(shipped.__file__).parent
    files = {path.stem for path in folder.glob("*.yaml")} - {"clip", "synonyms"}
    assert {*files, *shipped.by_name("clip.yaml"), "imagenet80", "imagenet7"} == set(TEMPLATE_SETS.own)


PACKAGE = """
CATS = ["a cat: {c}", "{c}, a cat"]
PETS = {"dogs": ["a dog: {c}"], "birds": ("a bird: {c}",)}
WRONG = ["no slot"]
"""


def test_sets_of_another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_templates.py").write_text(PACKAGE)
    about = tmp_path / "theirs-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    (about / "entry_points.txt").write_text(
        "[xmodal.template_sets]\ncats = their_templates:CATS\nbeasts = their_templates:PETS\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(templates, "TEMPLATE_SETS", Registry("template set", TEMPLATE_SETS.own, TEMPLATE_SETS.group))
    assert template_sets()[-2:] == ["cats", "beasts"]
    assert load_templates("cats") == load_templates("their_templates:CATS") == ["a cat: {c}", "{c}, a cat"]
    assert load_templates("beasts.dogs") == load_templates("their_templates:PETS.dogs") == ["a dog: {c}"]
    assert load_templates("beasts.birds") == ["a bird: {c}"]
    assert load_templates("cifar") == shipped.cifar
    for name, line in {
        "catz": "did you mean cats?",
        "beasts": "beasts holds several template sets; name one, as beasts.dogs",
        "beasts.birdz": "no template set 'birdz' in beasts: dogs, birds; did you mean beasts.birds?",
        "their_templates:WRONG": "template 1, 'no slot': expected {c}",
        "their_templates:NONE": "their_templates:NONE cannot be imported",
        "nowhere:NONE": "nowhere:NONE cannot be imported",
    }.items():
        with pytest.raises(UserError, match=re.escape(line)) as error:
            load_templates(name)
        assert "\n" not in str(error.value)
