"""Images as the libraries prepare them: open_clip's and timm's own transforms are the oracles, bit for bit."""

import numpy as np
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from timm.data import create_transform
from tiny_models import batch, images

from xmodal.towers.image_processor import PixelProcessor, centred, resized_size
from xmodal.towers.openclip.model import image_processor as from_open_clip
from xmodal.towers.timm_model import image_processor as from_timm

MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)


@pytest.mark.parametrize("resize", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [24, (24, 40), (45, 30)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_open_clips_evaluation_transform(resize, size, interpolation):
    settings = PreprocessCfg(size, "RGB", MEAN, STD, interpolation, resize, fill_color=7)
    theirs = image_transform_v2(settings, is_train=False)
    ours = from_open_clip(vars(settings), size)
    expected = torch.stack([theirs(image) for image in images()])
    assert torch.equal(batch(ours, images())["pixels"], expected)


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("crop_pct", [0.875, 0.9, 1.0, 0.95])
@pytest.mark.parametrize(
    ("size", "interpolation"), [((24, 24), "bicubic"), ((20, 33), "bilinear"), ((24, 24), "lanczos")]
)
def test_timms_evaluation_transform(crop_mode, crop_pct, size, interpolation):
    data = {
        "input_size": (3, *size), "interpolation": interpolation, "mean": MEAN, "std": STD,
        "crop_pct": crop_pct, "crop_mode": crop_mode,
    }  # fmt: skip
    theirs = create_transform(**data)
    expected = torch.stack([theirs(image) for image in images()])
    assert torch.equal(batch(from_timm(data), images())["pixels"], expected)


def test_an_image_of_the_right_size_is_not_touched():
    image = images()[2]
    for resize in ("shortest", "longest", "squash"):
        features = PixelProcessor((32, 32), MEAN, STD, resize=resize).features(image)
        assert features.dtype == np.uint8
        assert features.flags.c_contiguous
        assert np.array_equal(features.transpose(1, 2, 0), np.asarray(image))


def test_sizes_by_hand():
    assert resized_size((480, 640), "shortest", (224, 224)) == (224, 298)  # 298.67 cut off
    assert resized_size((640, 480), "longest", (224, 224)) == (224, 168)
    assert resized_size((100, 100), "shortest", (50, 80)) == (80, 80)
    assert resized_size((100, 30), "squash", (50, 80)) == (50, 80)


def test_padding_and_half_pixels_by_hand():
    rows = np.arange(3, dtype=np.uint8)[:, None, None].repeat(3, 2)
    padded = centred(rows, (6, 2), (9, 8, 7), "even")
    assert padded[:, 0, 0].tolist() == [9, 0, 1, 2, 9, 9]
    assert padded[1].tolist() == [[0, 0, 0], [9, 8, 7]]
    seven = np.arange(7, dtype=np.uint8)[:, None, None].repeat(3, 2)
    assert centred(seven, (4, 1), (0, 0, 0), "even")[0, 0, 0] == 2  # 1.5 goes to the even 2
    assert centred(seven, (4, 1), (0, 0, 0), "down")[0, 0, 0] == 1


def test_describe_tells_every_setting_apart():
    base = {"size": (24, 24), "mean": MEAN, "std": STD}
    changes = [{}, {"interpolation": "bilinear"}, {"resize": "squash"}, {"scale": (30, 30)}, {"fill": (1, 1, 1)}]
    changes += [{"offset": "down"}, {"size": (24, 25)}, {"mean": STD}, {"std": MEAN}]
    told = [str(PixelProcessor(**base | change).describe()) for change in changes]
    assert len(set(told)) == len(told)
    assert Image.Resampling.BICUBIC.name.lower() == PixelProcessor(**base).interpolation
