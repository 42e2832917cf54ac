"""Our image encoder: its parts by hand, its spec, and what training mode must not leak."""

import pytest
import torch
from pydantic import ValidationError
from tiny_models import batch, embed, images
from torch.nn import functional as F

from xmodal.errors import UserError
from xmodal.towers import build_tower, local_spec, save_tower
from xmodal.towers.heads import Linear
from xmodal.towers.own.image_encoder import ImageEncoder, ImageEncoderTower

SMALL = {"widths": (8, 16, 24), "image_size": 20}


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_the_network_by_hand(norm):
    torch.manual_seed(0)
    encoder = ImageEncoder(widths=(8, 16), norm=norm).eval()
    x = torch.randn(3, 3, 13, 10)

    def step(part, x):
        x = F.conv2d(x, part.convolution.weight, padding=1)
        x = F.max_pool2d(F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), value=-1e9), 2) if part.halve else x
        if norm == "group":
            groups = x.unflatten(1, (8, -1)).flatten(2)
            groups = (groups - groups.mean(2, keepdim=True)) / (groups.var(2, correction=0, keepdim=True) + 1e-5).sqrt()
            x = groups.view_as(x)
        else:
            x = x / (1 + 1e-5) ** 0.5  # running statistics of a network that has seen nothing: mean 0, variance 1
        return F.gelu(x)

    expected = step(encoder.stem, x)
    assert expected.shape == (3, 8, 7, 5)
    stage = encoder.stages[0]
    expected = step(stage.enter, expected)
    expected = expected + step(stage.block[1], step(stage.block[0], expected))
    expected = expected.flatten(2).mean(2) + expected.flatten(2).max(2).values
    torch.testing.assert_close(encoder({"pixels": x}), expected, atol=1e-5, rtol=1e-5)


def test_load_builds_what_the_spec_says():
    backbone, processor = ImageEncoderTower().load(
        ImageEncoderTower.Spec(**SMALL, norm="group", mean=(0, 0, 0), std=(1, 1, 1))
    )
    pixels = batch(processor, images())["pixels"]
    assert pixels.shape == (5, 3, 20, 20)
    assert 0 <= pixels.min() < pixels.max() <= 1
    assert backbone({"pixels": pixels}).shape == (5, 24)
    assert ImageEncoder(widths=(8,))({"pixels": pixels}).shape == (5, 8)
    with pytest.raises(ValidationError, match="multiples of 8"):
        ImageEncoderTower.Spec(widths=(12, 24), norm="group")
    with pytest.raises(ValidationError, match="at least 1"):
        ImageEncoderTower.Spec(widths=())


def test_each_image_is_embedded_by_itself():
    tower, processor = build_tower(ImageEncoderTower.Spec(**SMALL, head=Linear.Spec(dim=5)))
    tower.train()
    tower(batch(processor, images()))  # BatchNorm's statistics are no longer those of an untrained network
    together = embed(tower, processor, images())
    alone = torch.cat([embed(tower, processor, [image]) for image in images()])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", ["locked", "unlocked"])
def test_weights_of_a_run_are_taken_over(tmp_path, mode):
    spec = ImageEncoderTower.Spec(**SMALL)
    first, processor = build_tower(spec, out_dim=7)
    first.train()(batch(processor, images()))
    save_tower(spec.model_copy(update={"mode": "locked"}), first, processor, tmp_path / "image")
    taken = ImageEncoderTower.Spec(**SMALL, mode=mode, weights=tmp_path / "image")
    tower, _ = build_tower(taken)
    assert tower.fingerprint() == first.fingerprint()
    save_tower(taken, tower, processor, tmp_path / "run" / "image")
    again, other = build_tower(local_spec(taken, tmp_path / "run" / "image"))
    again.load_state_dict(tower.state_dict())
    assert torch.equal(embed(again, other, images()), embed(tower, processor, images()))
    wide = ImageEncoderTower.Spec(widths=(8, 16, 32), mode=mode, weights=tmp_path / "image")
    with pytest.raises(UserError, match="must be those of that run"):
        build_tower(wide)
