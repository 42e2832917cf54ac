"""Whole runs taught by a real dual encoder, a tiny one of open_clip: its targets, killed and resumed, without it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import yaml
from open_clip.loss import DistillClipLoss
from open_clip.transform import image_transform_v2
from picture_runs import make_pictures
from PIL import Image
from safetensors.torch import load_file
from tiny_models import open_clip_files
from torch.nn.functional import normalize

import xmodal
from xmodal.config.load import load_config
from xmodal.data.sampler import BatchKey
from xmodal.errors import UserError
from xmodal.store import content_id
from xmodal.training.trainer import Trainer

TRAIN = Path(xmodal.__file__).parent / "train.py"


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, open_clip.CLIP]:
    """A folder with pictures/ and taught.yaml, and the teacher as open_clip builds it."""
    folder = tmp_path_factory.mktemp("taught")
    make_pictures(folder / "pictures")
    name, weights, model = open_clip_files(folder / "teacher")
    clip = {"kind": "open_clip", "name": name, "pretrained": weights}
    content = {
        "output": str(folder / "run"),
        "data": {
            "train": str(folder / "pictures" / "train.jsonl"),
            "modalities": {"image": {"kind": "image", "augment": {"crop_scale": [0.3, 0.6], "flip": 0.5}}},
        },
        "towers": {
            "image": {"kind": "image_encoder", "image_size": 16, "widths": [8, 16], "norm": "group"},
            "text": {
                "kind": "text_encoder",
                "width": 16,
                "layers": 1,
                "heads": 2,
                "feed_forward": 32,
                "max_length": 32,
            },
        },
        "objective": {"kind": "distillation", "teacher_temperature": 0.05, "temperature": 0.1},
        "teachers": {
            side: {"kind": "store", "path": str(folder / f"{side}_teacher"), "tower": {**clip, "side": which}}
            for side, which in {"image": "visual", "text": "text"}.items()
        },
        "train": {"steps": 3, "batch_size": 8, "threads": 1, "save_every": 1, "trackers": ["jsonl"]},
    }
    (folder / "taught.yaml").write_text(yaml.safe_dump(content))
    return folder, model


def test_the_teacher_sees_the_items_as_they_are_and_the_loss_is_open_clips(taught, tmp_path: Path) -> None:
    folder, model = taught
    trainer = Trainer(load_config(folder / "taught.yaml", [f"output={tmp_path / 'run'}"]))
    trainer.aligner.eval()  # no dropout
    batch = trainer.dataset[BatchKey(1, np.arange(8))]  # images cropped, a caption of three drawn
    e = trainer.aligner.embeddings(batch)
    rows = [json.loads(line) for line in (folder / "pictures" / "train.jsonl").read_text().splitlines()]
    texts = {content_id(text): text for row in rows for text in row["text"]}
    drawn = [texts[int(found)] for found in batch.item_ids["text"]]
    assert any(text != row["text"][0] for text, row in zip(drawn, rows, strict=False))
    transform = image_transform_v2(open_clip.transform.PreprocessCfg(**model.visual.preprocess_cfg), False)
    pictures = [Image.open(folder / "pictures" / row["image"]) for row in rows[:8]]
    with torch.no_grad():
        image = model.encode_image(torch.stack([transform(each) for each in pictures]), normalize=True)
        text = model.encode_text(open_clip.get_tokenizer("tiny_teacher")(drawn), normalize=True)
    torch.testing.assert_close(e.teacher("image"), image, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(e.teacher("text"), text, rtol=1e-5, atol=1e-5)
    want = DistillClipLoss()(
        e.z("image"), e.z("text"), torch.tensor(1 / 0.1), normalize(image), normalize(text), torch.tensor(1 / 0.05)
    )[1]
    torch.testing.assert_close(trainer.aligner(batch).value, want, rtol=1e-4, atol=1e-4)


def test_killed_and_resumed_and_loaded_without_its_teacher(taught, tmp_path: Path) -> None:
    folder, _ = taught

    def run(name: str, *more: str) -> Trainer:
        return Trainer(load_config(folder / "taught.yaml", [f"output={tmp_path / name}", *more]))

    run("whole").fit()
    broken = run("broken")
    step = broken.stepper.step

    def step_or_die(batch):  # type: ignore[no-untyped-def]
        if batch.clock.step == 2:
            raise KeyboardInterrupt
        return step(batch)

    broken.stepper.step = step_or_die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        broken.fit()
    run("broken", "train.resume=true").fit()
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "broken"))
    assert whole.keys() == resumed.keys()
    assert all(name.startswith(("towers.image.", "towers.text.", "terms.")) for name in whole)
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
    rows = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["train/kl"] >= 0
    with pytest.raises(UserError, match=r"cannot resume with another config: teachers\.text"):
        run("whole", "train.resume=true", "teachers.text.path=elsewhere")
    for side in ("image", "text"):
        assert not (tmp_path / "whole" / "towers" / f"{side}_teacher").exists()
        (folder / f"{side}_teacher").rename(tmp_path / side)
    (folder / "teacher").rename(tmp_path / "teacher")
    try:
        encoder = xmodal.load(tmp_path / "whole")
        assert encoder.modalities == ("image", "text")
        assert torch.isfinite(encoder.encode("text", ["play the red"])).all()
    finally:
        (tmp_path / "teacher").rename(folder / "teacher")
        for side in ("image", "text"):
            (tmp_path / side).rename(folder / f"{side}_teacher")


def test_an_item_the_teacher_could_not_read_is_left_out_and_told(taught, tmp_path: Path) -> None:
    folder, _ = taught
    shutil.copytree(folder / "pictures", tmp_path / "pictures")
    (tmp_path / "pictures" / "train" / "3.png").write_bytes(b"no picture")
    overrides = [
        f"output={tmp_path / 'run'}",
        f"data.train={tmp_path / 'pictures' / 'train.jsonl'}",
        "data.max_bad=0.1",
    ]
    overrides += [f"teachers.{side}.path={tmp_path / side}" for side in ("image", "text")]
    trainer = Trainer(load_config(folder / "taught.yaml", overrides))
    told = "image: not in the teacher's store, it could not be read when that was made"
    assert trainer.dataset.skipped == [("p3", told)]
    assert len(trainer.dataset) == 39


def test_teachers_of_two_widths_are_told_before_anything_is_embedded(taught, tiny_bert: Path, tmp_path: Path) -> None:
    folder, _ = taught
    overrides = [f"output={tmp_path / 'run'}", f"teachers.image.path={tmp_path / 'image'}"]
    overrides += [
        f"teachers.text={{kind: store, path: {tmp_path}/text, tower: {{kind: transformers, name: {tiny_bert}}}}}"
    ]
    with pytest.raises(UserError) as error:
        Trainer(load_config(folder / "taught.yaml", overrides))
    line = "teachers.text: its embeddings have 32 numbers, and those of teachers.image 24; name the two sides of one "
    assert str(error.value) == line + "dual encoder"
    assert not (tmp_path / "image").exists()


def test_a_store_of_other_data_and_a_teacher_of_another_modality_are_refused(taught, tmp_path: Path) -> None:
    folder, _ = taught
    rows = (folder / "pictures" / "train.jsonl").read_text().splitlines(keepends=True)
    (folder / "pictures" / "fewer.jsonl").write_text("".join(rows[:20]))
    fewer = [f"output={tmp_path / 'run'}", f"data.train={folder / 'pictures' / 'fewer.jsonl'}"]
    Trainer(load_config(folder / "taught.yaml", [f"output={tmp_path / 'first'}"]))
    with pytest.raises(UserError, match=r"image_teacher: made from other data .*; run xmodal embed-frozen again"):
        Trainer(load_config(folder / "taught.yaml", fewer))
    swapped = [f"output={tmp_path / 'run'}", "teachers.image.tower.side=text", f"teachers.image.path={tmp_path / 'x'}"]
    with pytest.raises(UserError, match=r"teachers\.image\.tower: takes text, but the modality 'image' is image"):
        Trainer(load_config(folder / "taught.yaml", swapped))


def test_embed_frozen_makes_the_stores_of_teachers(taught, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from xmodal.commands.cli import main

    folder, _ = taught
    paths = [f"teachers.{side}.path={tmp_path / side}" for side in ("image", "text")]
    main(["embed-frozen", str(folder / "taught.yaml"), *paths])
    assert f"{tmp_path / 'image'}: 40 image items, 24 features each" in capsys.readouterr().out
    assert (tmp_path / "text" / "store.json").is_file()


@pytest.mark.slow
def test_two_processes_make_the_stores_and_train_as_one(taught, tmp_path: Path) -> None:
    folder, _ = taught
    path, steady = folder / "taught.yaml", ["towers.text.dropout=0", "optim.eps=1e-3", "data.workers=0"]
    steady += ["objective={learn: {kind: distillation}, slow: {kind: momentum_targets, alpha: 0.4, queue: 12}}"]
    steady += ["targets={image: {momentum: 0.9}, text: {momentum: 0.9}}"]
    Trainer(load_config(path, [*steady, f"output={tmp_path / 'one'}"])).fit()
    own = [f"teachers.{side}.path={tmp_path / side}" for side in ("image", "text")]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=2",
        str(TRAIN),
        str(path),
    ]
    command += [*steady, *own, f"output={tmp_path / 'two'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    found = [next((tmp_path / name / "checkpoints").iterdir()) for name in ("one", "two")]
    one, two = (load_file(checkpoint / "model.safetensors") for checkpoint in found)
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")
