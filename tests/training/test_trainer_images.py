"""Runs with images: captions from templates, frozen images in several views, spoken captions, three towers at once."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from xmodal.config.load import load_config
from xmodal.encoding.loading import load
from xmodal.errors import UserError
from xmodal.evaluation.classification.zero_shot import ZeroShot
from xmodal.files import write_json_lines
from xmodal.store import EmbeddingStore, view_id
from xmodal.training.trainer import Trainer

COLOURS = {"red": (230, 30, 30), "blue": (30, 30, 230), "zero": (30, 230, 30), "one": (200, 200, 40)}
IMAGE = {"kind": "image_encoder", "image_size": 16, "widths": [8, 16], "norm": "group"}
SPEECH = {
    "kind": "speech_encoder", "sample_rate": 8000, "mels": 20, "fft": 256, "high": 3900, "width": 16, "layers": 1,
    "heads": 2, "feed_forward": 32, "strides": [2, 2],
}  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """train.jsonl and test.jsonl: plain colours with noise, each with a tone of its own and the colour as label."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    rows = []
    for n in range(56):
        at = n % 4
        label, colour = list(COLOURS.items())[at]
        pixels = np.clip(np.array(colour) + rng.normal(0, 25, (20, 24, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{n}.png")
        t = np.arange(int(8000 * rng.uniform(0.2, 0.3))) / 8000
        soundfile.write(folder / f"{n}.wav", 0.2 * np.sin(2 * np.pi * (300 + 600 * at) * t), 8000)
        rows.append({"id": f"p{n}", "image": f"{n}.png", "speech": f"{n}.wav", "label": label, "text": f"the {label}"})
    write_json_lines(folder / "train.jsonl", rows[:40])
    write_json_lines(folder / "test.jsonl", rows[40:])
    (folder / "train.yaml").write_text("- 'the {c}'\n- '{c} now'\n- '{c} it'\n")
    (folder / "held.yaml").write_text("- 'some {c}'\n- '{c}'\n")
    return folder


def config(tmp_path, pictures, towers, modalities=None, steps=60, **rest):
    content = {
        "output": str(tmp_path / "run"),
        "data": {"train": str(pictures / "train.jsonl"), "modalities": modalities or {}},
        "towers": towers,
        "objective": {"kind": "infonce"},
        "optim": {"lr": 5e-3},
        "train": {"steps": steps, "batch_size": 16, "threads": 1, "log_every": 10},
        **rest,
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    return load_config(tmp_path / "config.yaml")


def test_images_against_captions_made_of_class_names(tmp_path, pictures, tiny_bert):
    text = {"kind": "store", "path": str(tmp_path / "store"), "tower": {"kind": "transformers", "name": str(tiny_bert)}}
    modalities = {
        "text": {"kind": "text", "templates": str(pictures / "train.yaml")},
        "image": {"kind": "image", "augment": {"pad": 2, "flip": 0.5}},
    }
    zero_shot = {"kind": "zero_shot", "test": str(pictures / "test.jsonl"), "prompts": str(pictures / "held.yaml")}
    report = Trainer(
        config(tmp_path, pictures, {"image": IMAGE, "text": text}, modalities, evaluators={"held": zero_shot})
    ).fit()
    assert report.value("held/acc1") >= 0.75  # chance 0.25
    assert len(EmbeddingStore.open(tmp_path / "store")) == 12  # four classes, three captions
    encoder = load(tmp_path / "run")
    z = encoder.encode("image", [pictures / "0.png", Image.open(pictures / "1.png"), (pictures / "2.png").read_bytes()])
    pixels = [np.asarray(Image.open(pictures / f"{n}.png")) for n in range(3)]
    torch.testing.assert_close(z, encoder.encode("image", pixels))
    with pytest.raises(UserError, match=r"expected uint8 \[H, W, 3\]"):
        encoder.encode("image", [np.zeros((4, 4, 3))])
    with pytest.raises(UserError, match=r"modality 'audio': .* encodes image, text"):
        encoder.encode("audio", ["a.wav"])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet10t", {"stem_width": 8, "channels": [8, 16, 24, 32], "output_stride": 8}),
        ("vit_tiny_patch16_224", {"patch_size": 8, "depth": 2, "embed_dim": 32, "num_heads": 2}),
    ],
    ids=["cnn", "vit"],
)
def test_a_timm_tower_learns_from_scratch(tmp_path, pictures, tiny_bert, name, options):
    spec = {"kind": "timm", "name": name, "mode": "scratch", "image_size": 32, "options": options}
    towers = {
        "image": {**spec, "head": {"kind": "linear"}},
        "text": {"kind": "transformers", "name": str(tiny_bert)},
    }
    zero_shot = {"kind": "zero_shot", "test": str(pictures / "test.jsonl"), "prompts": str(pictures / "held.yaml")}
    report = Trainer(config(tmp_path, pictures, towers, evaluators={"held": zero_shot})).fit()
    assert report.value("held/acc1") >= 0.9  # chance 0.25
    again = ZeroShot(ZeroShot.Spec(**zero_shot)).evaluate(load(tmp_path / "run"), "held")
    assert again.value("acc1") == report.value("held/acc1")


def test_classes_kept_out_of_training(tmp_path, pictures, tiny_bert):
    modalities = {"text": {"kind": "text", "templates": str(pictures / "train.yaml")}}
    towers = {"image": IMAGE, "text": {"kind": "transformers", "name": str(tiny_bert)}}
    data = {"train": str(pictures / "train.jsonl"), "modalities": modalities, "leave_out_labels": ["red", "one"]}
    trainer = Trainer(config(tmp_path, pictures, towers, steps=2, data=data))
    assert trainer.dataset.label_names == ["blue", "zero"]
    assert len(trainer.dataset) == 20
    data["leave_out_labels"] = ["rot"]
    with pytest.raises(UserError, match=r"no row of .* has the label 'rot'"):
        Trainer(config(tmp_path, pictures, towers, steps=2, data=data, output=str(tmp_path / "other")))


def test_a_frozen_image_side_in_several_views(tmp_path, pictures):
    """Spoken captions: a speech tower against a locked image tower whose augmented views are cached."""
    torch.manual_seed(0)
    first = config(
        tmp_path, pictures, {"image": IMAGE, "text": {"kind": "text_encoder", "width": 16, "layers": 1, "heads": 2}},
        steps=4, output=str(tmp_path / "first"), pairs=[["image", "text"]],
    )  # fmt: skip
    Trainer(first).fit()
    image = {
        "kind": "store",
        "path": str(tmp_path / "views"),
        "views": 3,
        "tower": {**IMAGE, "mode": "locked", "weights": str(tmp_path / "first"), "head": {"kind": "identity"}},
    }
    modalities = {"image": {"kind": "image", "augment": {"crop_scale": [0.5, 1.0]}}}
    trainer = Trainer(config(tmp_path, pictures, {"image": image, "speech": SPEECH}, modalities, steps=30))
    store = EmbeddingStore.open(tmp_path / "views")
    assert len(store) == 3 * 40
    item = int(trainer.dataset[next(trainer.sampler.iterate_from(0))].item_ids["image"][0])
    rows = store.rows(np.array([view_id(item, view, 3) for view in range(3)]))
    assert np.abs(rows[0] - rows[1]).max() > 0
    trainer.fit()
    encoder = load(tmp_path / "run")
    assert set(encoder.modalities) == {"image", "speech"}
    with pytest.raises(UserError, match="views"):
        Trainer(config(tmp_path, pictures, {"image": image, "speech": SPEECH}, steps=2, output=str(tmp_path / "no")))


def test_three_towers_with_one_guide(tmp_path, pictures, tiny_bert):
    towers = {"image": IMAGE, "speech": SPEECH, "text": {"kind": "transformers", "name": str(tiny_bert)}}
    zero_shot = {"kind": "zero_shot", "test": str(pictures / "test.jsonl"), "prompts": str(pictures / "held.yaml")}
    evaluators = {"seen": zero_shot, "heard": {**zero_shot, "items": "speech"}}
    pairs = [["image", "text"], ["speech", "text"]]
    report = Trainer(config(tmp_path, pictures, towers, steps=80, pairs=pairs, evaluators=evaluators)).fit()
    assert report.value("seen/acc1") >= 0.75
    assert report.value("heard/acc1") >= 0.75
    rows = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert "train/image-text/loss" in rows
    assert "train/speech-text/loss" in rows


def test_unreadable_images_of_a_store_are_left_out_of_training(tmp_path, pictures):
    folder = tmp_path / "data"
    folder.mkdir()
    for name in pictures.iterdir():
        (folder / name.name).write_bytes(name.read_bytes())
    (folder / "7.png").write_bytes(b"")
    tower = {**IMAGE, "mode": "locked", "weights": str(tmp_path / "first"), "head": {"kind": "identity"}}
    image = {"kind": "store", "path": str(tmp_path / "s"), "tower": tower}
    first = config(
        tmp_path, folder, {"image": IMAGE, "speech": SPEECH}, steps=2, output=str(tmp_path / "first"),
        pairs=[["image", "speech"]], data={"train": str(folder / "train.jsonl"), "max_bad": 0.1},
    )  # fmt: skip
    Trainer(first).fit()
    data = {"train": str(folder / "train.jsonl"), "max_bad": 0.1}
    trainer = Trainer(config(tmp_path, folder, {"image": image, "speech": SPEECH}, steps=3, data=data))
    assert len(EmbeddingStore.open(tmp_path / "s")) == 39
    assert [name for name, _ in trainer.dataset.skipped] == ["p7"]
    trainer.fit()
    data["max_bad"] = 0.01
    shutil.rmtree(tmp_path / "s")
    with pytest.raises(UserError, match=r"1 of 40 items \(2.5%\) cannot be used"):
        Trainer(
            config(
                tmp_path, folder, {"image": image, "speech": SPEECH}, steps=3, data=data, output=str(tmp_path / "no")
            )
        )


def test_lora_keeps_the_base_and_saves_its_updates_alone(tmp_path, pictures, tiny_bert):
    text = {"kind": "transformers", "name": str(tiny_bert), "lora": {"rank": 2}}
    zero_shot = {"kind": "zero_shot", "test": str(pictures / "test.jsonl"), "prompts": str(pictures / "held.yaml")}
    towers = {"image": IMAGE, "text": text}
    report = Trainer(config(tmp_path, pictures, towers, steps=6, evaluators={"held": zero_shot})).fit()
    kept = load_file(tmp_path / "run" / "model.safetensors")
    adapted = [name for name in kept if name.startswith("towers.text.backbone.")]
    assert adapted
    assert all("lora" in name for name in adapted)
    again = ZeroShot(ZeroShot.Spec(**zero_shot)).evaluate(load(tmp_path / "run"), "held")
    assert again.value("acc1") == report.value("held/acc1")
