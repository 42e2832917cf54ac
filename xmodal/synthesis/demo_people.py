"""People in the demo over frozen frames, where human speech is at hand: to train on, and to be tested on.

Input: the demo's folder, with its data made, and a folder of corpora (`XMODAL_DATA`). Output: manifests in
`DEMO/people/`, and what they change in the demo's config. Nothing of it is needed: without, the demo is TTS alone.

    speechocean762           read sentences of its training speakers: mixed into training
    fsdd                     3,000 digits of six people, never trained on: a test
    speech_commands_mini     300 words of 41 people, never trained on: a test
"""

import json
from pathlib import Path
from typing import Any

from xmodal.corpora.sound.audio_folder import prepare as prepare_words
from xmodal.corpora.speech.fsdd import prepare as prepare_digits
from xmodal.corpora.speech.speechocean762 import prepare as prepare_sentences
from xmodal.files import read_json_lines, write_json_lines

TESTS = {"digits": "fsdd", "words": "speech_commands_mini"}


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
            test = {"kind": "zero_shot", "test": str(people / f"{name}.jsonl"), "items": "speech", "cluster": "speaker"}
            changes.append(f"evaluators.{name}={json.dumps(test)}")
    return changes


def make_people(demo: Path, data: Path, train: Path) -> None:
    """Write the manifests that `people_overrides` names; `train` is the demo's own training manifest.

    Sentences are in lower case, as the demo's are.
    """
    found, people = corpora_in(data), demo / "people"
    if "speechocean762" in found:
        prepare_sentences(data / "speechocean762", people / "sentences")
        rows = [_row(row, demo, row["id"]) for _, row in read_json_lines(train)]
        for _, row in read_json_lines(people / "sentences" / "train.jsonl"):
            rows.append(_row(row | {"text": row["text"].lower()}, people / "sentences", f"person-{row['id']}"))
        write_json_lines(people / "train.jsonl", rows)
    tests: dict[str, list[Path]] = {}
    if "fsdd" in found:
        tests["digits"] = [path for path in prepare_digits(data / "fsdd", people / "fsdd") if path.stem == "test"]
    if "speech_commands_mini" in found:
        prepare_words(data / "speech_commands_mini", people / "speech_commands_mini")
        tests["words"] = [people / "speech_commands_mini" / "all.jsonl"]
    for name, manifests in tests.items():
        rows = [_row(row, path.parent, row["id"]) for path in manifests for _, row in read_json_lines(path)]
        write_json_lines(people / f"{name}.jsonl", rows)


def _row(row: dict[str, Any], folder: Path, name: str) -> dict[str, Any]:
    """A row of a manifest in `folder`, its recording by its whole path."""
    speech = (folder / str(row.get("speech") or row["audio"])).absolute()
    kept = {key: row.get(key) for key in ("text", "label")} | ({"speaker": row["speaker"]} if "speaker" in row else {})
    return {"id": name, "speech": str(speech), **kept}
