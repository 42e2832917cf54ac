"""Tasks of mteb over data at hand: their datasets are made here, and nothing is downloaded."""

import io
import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import soundfile
from datasets import ClassLabel, Dataset, DatasetDict, Features
from datasets import Image as ImageFeature
from mteb.abstasks.sts import AbsTaskSTS
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.abstasks.zeroshot_classification import AbsTaskZeroShotClassification
from PIL import Image

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
WORDS = ("bed", "bird", "cat", "dog")


def data() -> Path:
    return Path(os.environ["XMODAL_DATA"])


def metadata(name: str, kind: str, modalities: list[str], score: str) -> TaskMetadata:
    return TaskMetadata(
        name=name, description="Made on the spot.", type=kind, modalities=modalities, main_score=score,
        dataset={"path": "none/none", "revision": "1"}, eval_splits=["test"], eval_langs=["eng-Latn"],
    )  # fmt: skip


def pictures(count: int = 40) -> list[tuple[bytes, int]]:
    """The first pictures of CIFAR-10's test, as files' bytes, and the numbers of their classes."""
    table = pq.read_table(data() / "cifar10/test.parquet").slice(0, count).to_pylist()
    return [(row["image"]["bytes"], CIFAR10.index(row["label"])) for row in table]


def recordings(per_word: int = 6) -> list[tuple[Path, str]]:
    """Recordings of four words that people said, and which."""
    root = data() / "speech_commands_mini"
    rows = [json.loads(line) for line in (root / "manifest.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["language"] == "en"]
    chosen = [[row for row in rows if row["label"] == word][:per_word] for word in WORDS]
    return [(root / row["speech"], row["label"]) for some in chosen for row in some]


def sentence_pairs() -> list[tuple[str, str, int]]:
    """Pairs of typed requests, and whether they ask for the same thing."""
    lines = (data() / "nlu_home/utterances.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines][::40][:80]
    return [(a["text"], b["text"], int(a["scenario"] == b["scenario"])) for a, b in pairwise(rows)]


class LocalTask:
    """`dataset` is made by `made`, in place of a download."""

    def made(self) -> Dataset:
        raise NotImplementedError

    def load_data(self, **options: Any) -> None:
        self.dataset = DatasetDict({"test": self.made()})
        self.data_loaded = True


class HomeSTS(LocalTask, AbsTaskSTS):
    metadata = metadata("HomeSTS", "STS", ["text"], "cosine_spearman")
    min_score, max_score = 0, 1

    def made(self) -> Dataset:
        first, second, score = zip(*sentence_pairs(), strict=True)
        return Dataset.from_dict({"sentence1": first, "sentence2": second, "score": score})


class PictureNames(LocalTask, AbsTaskZeroShotClassification):
    metadata = metadata("PictureNames", "ZeroShotClassification", ["image", "text"], "accuracy")

    def made(self) -> Dataset:
        images = [Image.open(io.BytesIO(content)) for content, _ in pictures()]
        features = Features({"image": ImageFeature(), "label": ClassLabel(names=list(CIFAR10))})
        return Dataset.from_dict({"image": images, "label": [label for _, label in pictures()]}, features=features)

    def get_candidate_labels(self) -> list[str]:
        return [f"a photo of a {name}" for name in CIFAR10]


class SpokenWords(LocalTask, AbsTaskZeroShotClassification):
    metadata = metadata("SpokenWords", "AudioZeroshotClassification", ["audio", "text"], "accuracy")
    input_column_name = "audio"

    def made(self) -> Dataset:
        read = [(*soundfile.read(path, dtype="float32"), WORDS.index(word)) for path, word in recordings()]
        audio = [{"array": np.asarray(wave), "sampling_rate": rate} for wave, rate, _ in read]
        return Dataset.from_dict({"audio": audio, "label": [label for *_, label in read]})

    def get_candidate_labels(self) -> list[str]:
        return [f"the word {word}" for word in WORDS]


class MovingPictures(LocalTask, AbsTaskZeroShotClassification):
    metadata = metadata("MovingPictures", "VideoZeroshotClassification", ["video", "text"], "accuracy")
