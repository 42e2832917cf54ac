"""Every run the repository ships is built and trained for two steps, on tiny towers of the same kinds and tiny data."""

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import soundfile
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from tiny_models import whisper_folder

from xmodal.config import load_config
from xmodal.config.schema import RunConfig
from xmodal.encoding.loading import load
from xmodal.evaluation.evaluator import build_evaluator
from xmodal.files import write_json_lines
from xmodal.store import EmbeddingStore
from xmodal.towers import timm_model
from xmodal.towers.kinds.store import StoreTower
from xmodal.towers.kinds.timm import TimmTower
from xmodal.training.trainer import Trainer

FOLDER = Path(__file__).resolve().parents[2] / "configs"
# What a run trains, besides the temperature: whole towers, or their heads alone. Read off the papers, not the configs.
TRAINS = {
    "cifar10_cl": {"image"},
    "cifar10_cwcl": {"image"},
    "cifar10_siglip": {"image"},
    "cifar10_timm_cnn": {"image"},
    "cifar10_timm_vit": {"image"},
    "cc12m/clip_scratch": {"image", "text"},
    "coco/clip_scratch": {"image", "text"},
    "demo_cl": {"speech.head"},
    "demo_cwcl": {"speech.head"},
    "demo_dev": {"speech.head"},
    "demo_scratch_cwcl": {"speech"},
    "esc10_cwcl": {"audio.head"},
    "openclipart_cwcl": {"image.head", "text.head"},
    "fsdd_cwcl": {"speech"},
    "fsdd_frames": {"speech.head"},
    "cc12m/lit": {"text"},
    "coco/lit": {"text"},
    "cc12m/lit_cwcl": {"text"},
    "coco/lit_cwcl": {"text"},
    "nlu_home_cwcl": {"speech"},
    "cc12m/sail_style": {"image.head", "text.head"},
    "coco/sail_style": {"image.head", "text.head"},
    "cc12m/siglip": {"image", "text"},
    "coco/siglip": {"image", "text"},
    "cc12m/simcon": {"text"},
    "coco/simcon": {"text"},
    "spoken_captions": {"speech"},
    "teach": {"speech.head"},
    "speech/common_voice_cl": {"speech.head"},
    "speech/common_voice_cwcl": {"speech.head"},
    "speech/nlu_frames_cl": {"speech.head"},
    "speech/nlu_frames_cwcl": {"speech.head"},
    "speech/nlu_text": {"text.head"},
    "speech/people_cl": {"speech.head"},
    "speech/people_cwcl": {"speech.head"},
    "speech/nlu_tuned_cl": {"speech.head"},
    "speech/nlu_tuned_cwcl": {"speech.head"},
}
FIXED_TEMPERATURE = {"speech/nlu_text"}  # SupCon's
COLOURS = {"red": (230, 30, 30), "blue": (30, 30, 230), "zero": (30, 230, 30), "one": (200, 200, 40)}
WNIDS = ("n01440764", "n01443537", "n01484850", "n01491361")  # labels that ImageNet's names know too
WORDS = ("play", "stop", "set", "call", "now", "please", "alarm", "music", "on", "off")  # words of the tiny text model
VISION = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 16, "patch_size": 8}
OPEN_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 8, "layers": 1},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
FILES = {"test": "test.jsonl", "examples": "examples.jsonl", "names": "names.json"}  # of an evaluator
SPEECH = {"width": 16, "layers": 1, "heads": 2, "feed_forward": 32, "strides": [2, 2]}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    """A folder of tiny towers (`vision`, `text`, `clip.json`) and of data that every config can be run on.

    train.jsonl (32 rows), test.jsonl (8): id, image, speech, audio, source, speaker, text, label; examples.jsonl,
    names.json.
    """
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    transformers.Dinov2Model(transformers.Dinov2Config(**VISION, mlp_ratio=2)).save_pretrained(folder / "vision")
    size = {"height": 16, "width": 16}
    transformers.BitImageProcessorPil(size=size, crop_size=size).save_pretrained(folder / "vision")
    (folder / "text").symlink_to(tiny_bert)
    (folder / "clip.json").write_text(json.dumps(OPEN_CLIP))
    open_clip.add_model_config(folder / "clip.json")
    weights = open_clip.create_model("clip").state_dict()
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / "clip.safetensors")
    rng = np.random.default_rng(0)
    rows = []
    for n in range(40):
        word, colour = list(COLOURS.items())[n % 4]
        pixels = np.clip(np.array(colour) + rng.normal(0, 40, (18, 22, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{n}.png")
        t = np.arange(int(8000 * rng.uniform(0.2, 0.3))) / 8000
        soundfile.write(folder / f"{n}.wav", 0.2 * np.sin(2 * np.pi * (300 + 600 * (n % 4)) * t), 8000)
        text = f"{word} {WORDS[n // 4]}"
        sound = {"speech": f"{n}.wav", "audio": f"{n}.wav", "source": f"s{n % 5}", "speaker": f"s{n % 3}"}
        rows.append({"id": f"p{n}", "image": f"{n}.png", **sound, "text": text, "label": WNIDS[n % 4]})
    write_json_lines(folder / "train.jsonl", rows[:32])
    write_json_lines(folder / "test.jsonl", rows[32:])
    write_json_lines(folder / "examples.jsonl", [{"text": row["text"], "label": row["label"]} for row in rows[:32]])
    (folder / "names.json").write_text(json.dumps(dict(zip(WNIDS, COLOURS, strict=True))))
    whisper_folder(folder / "whisper")
    small = TimmTower.Spec(name="test_resnet", mode="scratch", image_size=32)
    timm_model.save(timm_model.load(small)[0], folder / "timm", weights=True)
    text = FOLDER / "speech" / "nlu_text.yaml"
    Trainer(load_config(text, tiny_overrides(load_config(text), folder, folder / "text_run"))).fit()
    return folder


def tiny_tower(spec: dict, modality: str, folder: Path, output: Path) -> dict:
    """The same kind of tower, mode and head, with the smallest model; timm's small ones are taken as they are."""
    kept = {key: spec[key] for key in ("kind", "mode", "side", "views", "lora", "head") if spec.get(key) is not None}
    if spec["head"]["kind"] == "mlp":
        kept["head"] = spec["head"] | {"dim": None if spec["head"]["residual"] else 12, "hidden": 24}
    if spec["head"]["kind"] == "transformer":
        kept["head"] = spec["head"] | {"hidden": 24, "layers": 1, "heads": 2, "feed_forward": 32}
    if spec["kind"] == "run":
        return kept | {"path": str(folder / "text_run")}
    if spec["kind"] == "transformers" and modality in ("speech", "audio"):
        layers = spec["layers"] if spec["layers"] == "last" else list(range(len(spec["layers"])))
        return kept | {"name": str(folder / "whisper"), "layers": layers}
    if spec["kind"] == "store":
        return kept | {"path": f"{output}_{modality}", "tower": tiny_tower(spec["tower"], modality, folder, output)}
    if spec["kind"] == "transformers":
        return kept | {"name": str(folder / ("vision" if modality == "image" else "text"))}
    if spec["kind"] == "open_clip":
        pretrained = {"pretrained": str(folder / "clip.safetensors")} if spec["mode"] != "scratch" else {}
        return kept | {"name": str(folder / "clip.json")} | pretrained
    if spec["kind"] == "timm" and spec["mode"] == "locked":
        return kept | {"name": str(folder / "timm")}
    if spec["kind"] == "speech_encoder":
        return kept | SPEECH | {"sample_rate": 8000, "mels": 20, "fft": 256, "high": 3900}
    if spec["kind"] == "text_encoder":
        return kept | {"max_length": 32, "width": 16, "layers": 1, "heads": 2, "feed_forward": 32}
    return spec


def tiny_overrides(config: RunConfig, folder: Path, output: Path) -> list[str]:
    """The command line that makes two small steps of a run: other paths, sizes and models, nothing else."""
    tree = config.model_dump(mode="json")
    paths = {key: str(folder / name) for key, name in FILES.items()}
    changes = {
        "output": str(output),
        "data.train": str(folder / "train.jsonl"),
        "data.workers": 0,
        "train.steps": 2,
        "train.batch_size": 8,
        "train.chunk": 4 if config.train.chunk else None,
        "train.precision": "fp32",  # Accelerate takes one precision per process
        "train.threads": 1,
        "train.trackers": ["jsonl"],
    }
    for modality, spec in tree["towers"].items():
        changes[f"towers.{modality}"] = tiny_tower(spec, modality, folder, output)
    for name, spec in tree["evaluators"].items():
        changes |= {f"evaluators.{name}.{key}": path for key, path in paths.items() if spec.get(key)}
        if spec.get("cascade"):
            changes[f"evaluators.{name}.cascade"] = None
        if spec.get("prompts") == "imagenet80":
            changes[f"evaluators.{name}.prompts"] = "plain"  # 1,000 names, not 80,000 sentences
    return [f"{key}={json.dumps(value)}" for key, value in changes.items()]


def everything(trainer: Trainer) -> dict[str, torch.Tensor]:
    """A copy of all weights and buffers."""
    return {name: value.clone() for name, value in trainer.aligner.state_dict().items()}


@pytest.mark.parametrize("name", TRAINS)
def test_what_should_train_does_and_what_is_locked_stays(name: str, tiny: Path, tmp_path: Path) -> None:
    path = FOLDER / f"{name}.yaml"
    config = load_config(path, tiny_overrides(load_config(path), tiny, tmp_path / "run"))
    trainer = Trainer(config.model_copy(update={"evaluators": {}}))  # their pictures would take most of the time
    before, trainable = everything(trainer), {n for n, p in trainer.aligner.named_parameters() if p.requires_grad}
    stores = [spec.path for spec in config.towers.values() if isinstance(spec, StoreTower.Spec)]
    rows = [EmbeddingStore.open(store).all_rows().copy() for store in stores]
    trainer.fit()

    after = everything(trainer)
    changed = {n for n in after if not torch.equal(after[n], before[n])}
    terms = ("terms.",) if name not in FIXED_TEMPERATURE else ()
    expected = (*(f"towers.{part}." for part in TRAINS[name]), *terms)
    assert trainable == {n for n, _ in trainer.aligner.named_parameters() if n.startswith(expected)}
    assert {n.split(".")[0] for n in trainable} == {"towers", *(term[:-1] for term in terms)}
    assert changed >= trainable
    assert all(n.startswith(expected) for n in changed)
    for store, stored in zip(stores, rows, strict=True):
        assert np.array_equal(EmbeddingStore.open(store).all_rows(), stored)

    encoder = load(tmp_path / "run")
    kinds = {modality: config.modality(modality).kind for modality in config.towers}
    assert set(encoder.modalities) == set(kinds)
    for key, spec in config.evaluators.items():  # a run ends with numbers
        assert build_evaluator(spec, kinds).evaluate(encoder, key, brief=True).records


def test_every_config_is_here() -> None:
    found = [path for folder in ("", "cc12m", "coco", "speech") for path in (FOLDER / folder).glob("*.yaml")]
    assert sorted(TRAINS) == sorted(path.relative_to(FOLDER).as_posix().removesuffix(".yaml") for path in found)
