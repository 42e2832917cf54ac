"""SLURP with its recordings: spoken home-assistant commands of people, close to the microphone and far from it.

Input: the annotations (`train.jsonl`, `devel.jsonl`, `test.jsonl`, and `train_synthetic.jsonl` where wanted), the
recordings (`slurp_real/`, `slurp_synth/`), and `metadata.json` for who spoke; as the repository has them
(`dataset/slurp/`, `audio/`) or all in one folder. Output: `OUT/SPLIT_audio.jsonl`, a row a recording, and
`OUT/SPLIT_texts.jsonl`, a row a sentence. The sentences of devel alone, for speech synthesis, are the corpus `slurp`.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xmodal.corpora.audio_manifest import Row, required_folder, write_audio, write_names, write_rows
from xmodal.corpora.image_manifest import chosen_splits, evenly
from xmodal.corpora.speech.rows import read_rows
from xmodal.corpora.splits import has_splits
from xmodal.data.unusable import Bad
from xmodal.errors import UserError

SPLITS = ("train", "train_synthetic", "devel", "test")

_KEYS = ("slurp_id", "sentence", "scenario", "action", "recordings")
_RECORDINGS = {"slurp_real": ("slurp_real", "audio/slurp_real"), "slurp_synth": ("slurp_synth", "audio/slurp_synth")}

log = logging.getLogger(__name__)


@has_splits(*SPLITS)
def prepare(root: Path, out: Path, limit: int | None = None, splits: Sequence[str] = ()) -> dict[Path, int]:
    """Write two manifests for each split there, and `OUT/names.json` (label to readable name).

    Columns of recordings: `id` (the file's name), `speech`, `text`, `label` (`scenario_action`), `scenario`, `action`,
    `headset` (close to the mouth, by the file's name), `slurp_id`, `text_id` (the first slurp_id with these words: 16
    recordings of one sentence are one text), `speaker` (where `metadata.json` is there), `wer` and `status` of the
    corpus' own check, `seconds`. Of sentences: `id`, `text`, `label`, `cluster` (the `text_id`).

    Left out, and listed: recordings that are missing or cannot be read, sentences without a recording, empty ones.

    Raises:
        UserError: annotations or recordings missing, or not in SLURP's form.

    Example:
        prepare(Path("data/slurp"), Path("runs/data/slurp"), splits=["devel"])
    """
    texts = root / "dataset" / "slurp" if (root / "dataset" / "slurp").is_dir() else root
    chosen = chosen_splits(texts, splits, {split: [f"{split}.jsonl"] for split in SPLITS})
    speakers = _speakers(texts / "metadata.json")
    if not speakers:
        log.warning("%s: no metadata.json: rows have no column speaker, and no interval can be by speaker", texts)
    read = {split: read_rows(texts / f"{split}.jsonl", _KEYS) for split in chosen}
    written: dict[Path, int] = {}
    labels: set[str] = set()
    for split, sentences in read.items():
        kind = "slurp_synth" if split == "train_synthetic" else "slurp_real"
        folder = required_folder(root, _RECORDINGS[kind], f"SLURP's recordings, {kind}.tar.gz unpacked")
        skipped: list[Bad] = []
        rows, said = _rows(sentences, folder, speakers, skipped)
        labels |= {row["label"] for row in said}
        written |= write_audio(out / f"{split}_audio.jsonl", rows, skipped, limit)
        written |= write_rows(out / f"{split}_texts.jsonl", [said[at] for at in evenly(len(said), limit)], [])
    return written | write_names(out / "names.json", labels)


def _rows(
    sentences: Sequence[dict[str, Any]], folder: Path, speakers: dict[str, str], skipped: list[Bad]
) -> tuple[list[Row], list[Row]]:
    """The rows of recordings, and those of sentences."""
    spoken: list[Row] = []
    said: list[Row] = []
    first: dict[str, str] = {}
    for sentence in sentences:
        name, text = str(sentence["slurp_id"]), str(sentence["sentence"] or "").strip()
        if not text:
            skipped.append((f"slurp_id {name}", "empty sentence"))
            continue
        label = f"{sentence['scenario']}_{sentence['action']}"
        text_id = first.setdefault(text, name)
        said.append({"id": name, "text": text, "label": label, "cluster": text_id})
        if not sentence["recordings"]:
            skipped.append((f"slurp_id {name}", "no recording"))
        for recording in sentence["recordings"]:
            file = str(recording["file"])
            row = {
                "id": Path(file).stem,
                "speech": folder / file,
                "text": text,
                "label": label,
                "scenario": sentence["scenario"],
                "action": sentence["action"],
                "headset": "headset" in file,
                "slurp_id": name,
                "text_id": text_id,
            }
            row |= {"speaker": speakers[file]} if file in speakers else {}
            spoken.append(row | {key: recording[key] for key in ("wer", "status") if key in recording})
    return spoken, said


def _speakers(path: Path) -> dict[str, str]:
    """Who spoke each recording, by the file's name; nothing where there is no such list."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {
            str(file): str(about["usrid"])
            for sentence in found.values()
            for file, about in sentence["recordings"].items()
            if about.get("usrid")
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: not SLURP's ({type(error).__name__}: {error}); expected recordings with usrid by sentence; "
            "fetch it again, or remove it"
        ) from error
