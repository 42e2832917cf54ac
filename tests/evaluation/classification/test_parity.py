"""Zero-shot classification and retrieval give CLIP_benchmark's numbers: same model, same images, same prompts.

The model is a small open_clip ViT, a JSON config and a safetensors file made on the spot. The images are 1,200 made on
the spot and, where there are real data, CIFAR-10's 10,000 test images. Their side reads, decodes and transforms the
images on its own.
"""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import open_clip
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from xmodal import load
from xmodal.encoding.embedding import BATCH_SIZE
from xmodal.encoding.encoder import Encoder
from xmodal.evaluation.classification.zero_shot import ZeroShot
from xmodal.evaluation.retrieval.retrieval import Retrieval
from xmodal.files import write_json_lines
from xmodal.prompts import fill, load_templates

classification = pytest.importorskip("clip_benchmark.metrics.zeroshot_classification")
retrieval = pytest.importorskip("clip_benchmark.metrics.zeroshot_retrieval")

CONFIG = {
    "embed_dim": 48,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "head_width": 32, "layers": 2},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TEMPLATES = load_templates("cifar")


class Images(Dataset):
    """Their data set: decoded and transformed when asked for, with what belongs to each image."""

    classes = CIFAR

    def __init__(self, files: Sequence[bytes], answers: Sequence[Any], transform: Callable[[Image.Image], Tensor]):
        self.files, self.answers, self.transform = files, answers, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, at: int) -> tuple[Tensor, Any]:
        return self.transform(Image.open(io.BytesIO(self.files[at]))), self.answers[at]


class Pictures(NamedTuple):
    path: Path
    files: list[bytes]  # [n] PNG
    labels: list[int]


class Both(NamedTuple):
    """One model twice: as xmodal loads it, and as open_clip does."""

    ours: Encoder
    theirs: nn.Module
    transform: Callable[[Image.Image], Tensor]
    tokenizer: Callable[[list[str]], Tensor]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def their_floats() -> Iterator[None]:
    """CLIP_benchmark 1.6.2 takes `float` of arrays that hold one number, which numpy 2.4 refuses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classification, "float", lambda x: x.item() if hasattr(x, "item") else float(x), raising=False)
        yield


def drawn_pictures(folder: Path) -> Path:
    """1,200 pictures of ten kinds, stripes of a colour under noise, some of them hard to tell apart."""
    rng, files, labels = np.random.default_rng(0), [], []
    for at in range(1200):
        kind = at % len(CIFAR)
        angle, phase = np.pi * kind / len(CIFAR) + rng.normal(0, 0.1), rng.uniform(0, 2 * np.pi)
        x, y = np.meshgrid(np.arange(40), np.arange(36))  # neither square nor of the model's size
        wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * (0.4 + 0.1 * (kind % 3)) + phase)[..., None]
        colour = 0.5 + 0.3 * np.cos(kind + np.arange(3) * 2)
        pixels = 128 + 70 * wave * colour + 60 * (colour - 0.5) + rng.normal(0, 50, (36, 40, 3))
        buffer = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
        files.append(buffer.getvalue())
        labels.append(CIFAR[kind])
    pq.write_table(pa.table({"image": files, "label": labels}), folder / "test.parquet")
    return folder / "test.parquet"


@pytest.fixture(scope="module", params=["generated", "cifar10"])
def pictures(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    if request.param == "generated":
        path = drawn_pictures(tmp_path_factory.mktemp("pictures"))
    else:
        path = request.getfixturevalue("xmodal_data") / "cifar10" / "test.parquet"
    table = pq.read_table(path)
    files = [image if isinstance(image, bytes) else image["bytes"] for image in table["image"].to_pylist()]
    return Pictures(path, files, [CIFAR.index(label) for label in table["label"].to_pylist()])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, pictures: Pictures) -> Both:
    folder = tmp_path_factory.mktemp("parity")
    config, weights = folder / f"xmodal_{folder.name}.json", folder / "parity.safetensors"
    config.write_text(json.dumps(CONFIG))
    open_clip.add_model_config(config)
    torch.manual_seed(0)
    theirs, _, transform = open_clip.create_model_and_transforms(config.stem)
    tokenizer = open_clip.get_tokenizer(config.stem)
    spread(theirs.eval(), Images(pictures.files[:1000], pictures.labels, transform), tokenizer)
    save_file({name: value.contiguous() for name, value in theirs.state_dict().items()}, weights)
    return Both(load(f"open_clip:{config}@{weights}", device="cpu"), theirs, transform, tokenizer)


@torch.no_grad()
def spread(theirs: Any, images: Images, tokenizer: Callable[[list[str]], Tensor]) -> None:
    """Centre both sides, and fit the last matrix of the images' side to the class vectors.

    Fresh weights put every embedding in one place: every image is of one class, and rounding decides the ranks.
    """
    theirs.token_embedding.weight.mul_(20)  # words, not only their places, make the embedding of a text
    prompts = tokenizer([prompt for name in CIFAR for prompt in fill(TEMPLATES, name)])
    texts = theirs.encode_text(prompts)
    theirs.ln_final.bias -= texts.mean(0) @ theirs.text_projection.pinverse()
    class_vectors = (texts - texts.mean(0)).reshape(len(CIFAR), len(TEMPLATES), -1).mean(1)
    theirs.visual.proj = None
    pixels, labels = zip(*(images[at] for at in range(len(images))), strict=True)
    features = theirs.encode_image(torch.stack(pixels))
    theirs.visual.ln_post.bias -= features.mean(0)
    features = features - features.mean(0)
    theirs.visual.proj = nn.Parameter(torch.linalg.lstsq(features, class_vectors[list(labels)]).solution)


def test_zero_shot_is_clip_benchmarks(model: Both, pictures: Pictures) -> None:
    report = ZeroShot(ZeroShot.Spec(test=pictures.path, prompts="cifar")).evaluate(model.ours, "cifar10", brief=True)
    loader = DataLoader(Images(pictures.files, pictures.labels, model.transform), batch_size=BATCH_SIZE)
    expected = classification.evaluate(model.theirs, loader, model.tokenizer, CIFAR, TEMPLATES, device="cpu", amp=False)
    for metric in ("acc1", "acc5", "mean_per_class_recall"):
        assert report.value(metric) == pytest.approx(expected[metric], abs=1e-6), metric
    assert (len(report.predictions), len(TEMPLATES)) == (len(pictures.files), 18)
    record = next(r for r in report.records if r.metric == "acc1")
    assert record.context["ties"] == 0
    assert 0.15 < record.value < 0.9
    assert report.predictions["predicted"].value_counts().min() > len(pictures.files) / 200


def test_retrieval_is_clip_benchmarks(model: Both, pictures: Pictures, tmp_path: Path) -> None:
    captions = [  # three to five of each image, no two alike
        [f"{prompt} number {at}" for prompt in fill(TEMPLATES[at % 7 :][: 3 + at % 3], CIFAR[pictures.labels[at]])]
        for at in range(60)
    ]
    for at, file in enumerate(pictures.files[:60]):
        (tmp_path / f"{at}.png").write_bytes(file)
    rows = [{"id": str(at), "image": f"{at}.png", "text": texts} for at, texts in enumerate(captions)]
    write_json_lines(tmp_path / "pairs.jsonl", rows)
    report = Retrieval(Retrieval.Spec(test=tmp_path / "pairs.jsonl")).evaluate(model.ours, "pairs", brief=True)

    def collate(batch: list) -> tuple[Tensor, list[list[str]]]:
        return torch.stack([pixels for pixels, _ in batch]), [texts for _, texts in batch]

    loader = DataLoader(Images(pictures.files[:60], captions, model.transform), batch_size=16, collate_fn=collate)
    expected = retrieval.evaluate(
        model.theirs, loader, model.tokenizer, device="cpu", amp=False, recall_k_list=[1, 5, 10]
    )
    for k in (1, 5, 10):
        to_images, to_texts = report.value(f"text_to_image_recall@{k}"), report.value(f"image_to_text_recall@{k}")
        assert to_images == pytest.approx(expected[f"image_retrieval_recall@{k}"], abs=1e-6), k
        assert to_texts == pytest.approx(expected[f"text_retrieval_recall@{k}"], abs=1e-6), k
        assert 0 < to_images < 1
        assert 0 < to_texts < 1
    sizes = {r.metric: r.n for r in report.records}
    assert (sizes["text_to_image_recall@1"], sizes["image_to_text_recall@1"]) == (sum(map(len, captions)), 60)
