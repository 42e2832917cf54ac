"""A small matrix of spoken intents made by hand, its encoder, and the files of its test."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from xmodal.encoding.encoder import Encoder, Item
from xmodal.evaluation.classification.speech_intent import SpeechIntent
from xmodal.report.report import Report

PLAY, ALARM, STOP, WEATHER = torch.eye(4)

# Sentence, its label, its embedding, and the embeddings of its recordings.
# Candidates in order:            play_music  set_alarm  stop  weather
TEST: list[tuple[str, str, tuple[float, ...], list[tuple[float, ...]]]] = [
    ("play a tune", "play_music", (0.8, 0.6, 0, 0), [(0.8, 0.6, 0, 0), (0.6, 0.8, 0, 0)]),
    ("wake me up", "set_alarm", (0, 1, 0, 0), [(0.6, 0.6, 0.28**0.5, 0), (0, 0.6, 0, 0.8)]),
    ("be quiet", "stop", (0.6, 0.8, 0, 0), [(0, 0, 1, 0), (0, 0.28, 0.96, 0)]),
    ("order pizza", "order_food", (0, 0, 1, 0), [(1, 0, 0, 0)]),  # its label is no candidate
]
# Example sentences: those of play_music average to (0.9, 0.3), normalised (0.949, 0.316).
EXAMPLES = {"put on a song": "play_music", "some jazz": "play_music", "up at six": "set_alarm", "enough": "stop"}
EXAMPLES |= {"will it rain": "weather"}
VECTORS = {
    "play music": PLAY, "set alarm": ALARM, "stop": STOP, "weather": WEATHER,
    "put on a song": torch.tensor([0.8, 0.6, 0, 0]), "some jazz": PLAY, "up at six": ALARM, "enough": STOP,
    "will it rain": WEATHER,
}  # fmt: skip


class ByTable(Encoder):
    """Embeddings out of a table, by text or by file name; a file that is not in it cannot be read."""

    def __init__(self, vectors: dict[str, torch.Tensor]) -> None:
        super().__init__({}, {}, name="table")
        self.vectors = vectors
        self.asked: list[str] = []

    def encode_readable(
        self,
        modality: str,
        items: Sequence[Item],
        sample_rate: int | None = None,
        batch_size: int = 64,
        progress: str | None = None,
    ) -> tuple[torch.Tensor, list[int], list[tuple[int, str]]]:
        names = [str(item) if modality == "text" else Path(str(item)).name for item in items]
        self.asked += names
        kept = [i for i, name in enumerate(names) if name in self.vectors]
        skipped = [(i, f"{name}: unreadable") for i, name in enumerate(names) if name not in self.vectors]
        z = torch.stack([self.vectors[names[i]] for i in kept]) if kept else torch.empty(0, 4)
        return z, kept, skipped


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_table(tmp_path: Path) -> ByTable:
    """The encoder of the small matrix; in the folder test.jsonl and examples.jsonl."""
    rows, vectors = [], dict(VECTORS)
    for text, label, z, recordings in TEST:
        vectors[text] = torch.tensor(z, dtype=torch.float32)
        for spoken in recordings:
            name = f"s{len(rows) + 1}"
            vectors[f"{name}.wav"] = torch.tensor(spoken, dtype=torch.float32)
            rows.append({"id": name, "speech": f"wav/{name}.wav", "text": text, "label": label})
    write(tmp_path / "test.jsonl", rows)
    write(tmp_path / "examples.jsonl", [{"id": t, "text": t, "label": label} for t, label in EXAMPLES.items()])
    return ByTable(vectors)


def spec(folder: Path, **more: object) -> SpeechIntent.Spec:
    return SpeechIntent.Spec(
        test=folder / "test.jsonl", **{"examples": folder / "examples.jsonl", "prompts": "plain"} | more
    )


def evaluate(table: Encoder, folder: Path, **more: object) -> Report:
    return SpeechIntent(spec(folder, **more)).evaluate(table, "t", brief=True)
