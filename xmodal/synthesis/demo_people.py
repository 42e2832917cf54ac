"""People in the demo, where human speech is at hand: to train on, and to be tested on.

Input: the demo's folder, with its data made, and a folder of corpora (`XMODAL_DATA`). Output: manifests in
`DEMO/people/`, and what they change in the demo's config. Nothing of it is needed: without, the demo is TTS alone.

    speechocean762           read sentences of its training speakers: mixed into training
    fsdd                     3,000 digits of six people, never trained on: a test
    speech_commands_mini     300 words of 41 people, never trained on: a test
"""

import json
from pathlib import Path

from xmodal.corpora.sound.audio_folder import prepare as prepare_words
from xmodal.corpora.speech.fsdd import prepare as prepare_digits
from xmodal.corpora.speech.speechocean762 import prepare as prepare_sentences
from xmodal.data.mix import mixed
from xmodal.files import write_json_lines

TESTS = {"digits": "fsdd", "words": "speech_commands_mini"}
PROMPTS = {"digits": "digits", "words": "spoken_word"}


def corpora_in(data: Path) -> list[str]:
    """Those of the three that are there."""
    return [name for name in ("speechocean762", *TESTS.values()) if (data / name).is_dir()]


def people_overrides(demo: Path, data: Path) -> list[str]:
    """What the people of `data` change in the demo's config; nothing is written, or read.

    Example:
        people_overrides(Path("data/demo"), Path("/corpora"))  # ["data.train=data/demo/people/train.jsonl", ...]
    """
    found, people = corpora_in(data), demo / "people"
    changes = []
    if "speechocean762" in found:
        changes += [
            f"data.train={people / 'train.jsonl'}",
            f"towers.speech.path={people / 'frames'}",
            f"towers.text.path={people / 'text_store'}",
        ]
    for name, corpus in TESTS.items():
        if corpus in found:
            path = str(people / f"{name}.jsonl")
            test = {
                "kind": "zero_shot",
                "test": path,
                "items": "speech",
                "cluster": "speaker",
                "prompts": PROMPTS[name],
            }
            changes.append(f"evaluators.{name}={json.dumps(test | {'trained': True})}")  # as words alone, in TTS
    return changes


def make_people(demo: Path, data: Path, train: Path) -> None:
    """Write the manifests that `people_overrides` names; `train` is the demo's own training manifest.

    Sentences are in lower case, as the demo's are.
    """
    found, people = corpora_in(data), demo / "people"
    if "speechocean762" in found:
        prepare_sentences(data / "speechocean762", people / "sentences")
        write_json_lines(
            people / "train.jsonl", mixed([train, people / "sentences" / "train.jsonl"], people, lower=True)
        )
    tests: dict[str, list[Path]] = {}
    if "fsdd" in found:
        tests["digits"] = [path for path in prepare_digits(data / "fsdd", people / "fsdd") if path.stem == "test"]
    if "speech_commands_mini" in found:
        prepare_words(data / "speech_commands_mini", people / "speech_commands_mini")
        tests["words"] = [people / "speech_commands_mini" / "all.jsonl"]
    for name, manifests in tests.items():
        write_json_lines(people / f"{name}.jsonl", mixed(manifests, people, sound="speech"))
