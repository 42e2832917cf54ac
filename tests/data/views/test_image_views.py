"""Views of an image: nothing on is nothing changed, every number from the generator, crops as Szegedy et al. say."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from xmodal.config.augment.image import ImageAugment
from xmodal.data.views.colour import jitter_of, kernel_of
from xmodal.data.views.image import augment_image, crop_box

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


class Processor:
    size = (32, 24)
    interpolation = "bilinear"

    def features(self, item):
        return np.ascontiguousarray(np.asarray(item)[:32, :24].transpose(2, 0, 1))


def view(seed=0, **spec):
    image, processor = Image.fromarray(PIXELS), Processor()
    return augment_image(
        lambda: image, lambda: processor.features(image), processor, ImageAugment(**spec), np.random.default_rng(seed)
    )


def test_off_by_default():
    assert not ImageAugment().is_active
    np.testing.assert_array_equal(view(), Processor().features(Image.fromarray(PIXELS)))


@pytest.mark.parametrize("spec", [{"crop_scale": (0.3, 1.0)}, {"pad": 4}, {"flip": 0.5}, {"rand_augment": 2},
                                  {"jitter": 1.0}, {"grayscale": 0.5}, {"blur": 1.0}])  # fmt: skip
def test_a_view_is_a_function_of_the_generator_alone(spec):
    assert ImageAugment(**spec).is_active
    views = [view(seed, **spec) for seed in range(8)]
    for seed, found in enumerate(views):
        assert found.shape == (3, 32, 24)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, view(seed, **spec))
    assert len({found.tobytes() for found in views}) > 1


def test_mirror_and_shift_move_pixels_and_change_none():
    plain = view()
    np.testing.assert_array_equal(view(flip=1.0), plain[:, :, ::-1])
    padded = np.zeros((3, 40, 32), np.uint8)
    padded[:, 4:36, 4:28] = plain
    places = {padded[:, y : y + 32, x : x + 24].tobytes(): (y, x) for y in range(9) for x in range(9)}
    assert len(places) == 81
    found = Counter(places.get(view(seed, pad=4).tobytes()) for seed in range(1620))
    assert set(found) == set(places.values())  # every shift by up to 4 pixels, and nothing else
    assert stats.chisquare(list(found.values())).pvalue > 0.01  # all as likely


def test_as_many_are_mirrored_as_asked_for():
    plain = view()
    kinds = {plain.tobytes(): "plain", np.ascontiguousarray(plain[:, :, ::-1]).tobytes(): "mirrored"}
    found = Counter(kinds[view(seed, flip=0.3).tobytes()] for seed in range(1000))
    assert stats.binomtest(found["mirrored"], 1000, 0.3).pvalue > 0.01


def test_a_whole_image_crop_is_the_librarys_resize():
    crop = view(crop_scale=(1.0, 1.0), crop_ratio=(1.5, 1.5))
    want = np.asarray(Image.fromarray(PIXELS).resize((24, 32), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    assert np.abs(crop.astype(int) - want).max() <= 1


def test_boxes_have_the_area_and_shape_asked_for():
    rng = np.random.default_rng(0)
    boxes = np.array([crop_box(400, 600, (0.2, 0.8), (0.75, 4 / 3), rng) for _ in range(2000)])
    top, left, height, width = boxes.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= 400).all()
    assert (left + width <= 600).all()
    area = height * width / 240_000
    assert 0.19 < area.min() < 0.22
    assert 0.75 < area.max() < 0.81
    shape = width / height
    assert 0.74 < shape.min() < 0.77
    assert 1.31 < shape.max() < 1.35
    # an image too thin for any such crop: the largest centred one
    assert crop_box(10, 1000, (0.9, 1.0), (0.75, 4 / 3), rng) == (0, 493, 10, 13)


def test_grayscale_and_jitter_have_their_probability():
    grey = [view(seed, grayscale=0.2) for seed in range(500)]
    same = sum(bool((found == found[:1]).all()) for found in grey)
    assert stats.binomtest(same, 500, 0.2).pvalue > 0.01
    luma = view().transpose(1, 2, 0).astype(np.float64) @ [0.2989, 0.587, 0.114]
    assert np.abs(view(grayscale=1.0)[0] - luma).max() <= 1
    plain = view().tobytes()
    changed = sum(view(seed, jitter=0.8).tobytes() != plain for seed in range(300))
    assert stats.binomtest(changed, 300, 0.8).pvalue > 0.01
    assert not ImageAugment(jitter=1.0, brightness=0, contrast=0, saturation=0, hue=0).is_active


def test_the_parts_of_a_jitter_are_pillows():
    from PIL import ImageEnhance

    image = Image.fromarray(view().transpose(1, 2, 0))
    off = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}
    enhancers = {"brightness": ImageEnhance.Brightness, "contrast": ImageEnhance.Contrast,
                 "saturation": ImageEnhance.Color}  # fmt: skip
    for name, enhancer in enhancers.items():
        for seed in range(4):
            spec = ImageAugment(jitter=1.0, **off | {name: 0.5})
            rng = np.random.default_rng(seed)
            rng.random()
            [(drawn, factor)] = jitter_of(spec, rng)
            assert drawn == name
            assert 0.5 <= factor <= 1.5
            want = np.asarray(enhancer(image).enhance(factor)).transpose(2, 0, 1).astype(int)
            found = view(seed, jitter=1.0, **off | {name: 0.5}).astype(int)
            assert np.abs(found - want).max() <= 2
    rng = np.random.default_rng(3)
    rng.random()
    [(_, turn)] = jitter_of(ImageAugment(jitter=1.0, **off | {"hue": 0.5}), rng)
    turned = np.asarray(Image.fromarray(view(3, jitter=1.0, **off | {"hue": 0.5}).transpose(1, 2, 0)).convert("HSV"))
    before = np.asarray(image.convert("HSV"))
    vivid = (before[..., 1] > 60) & (before[..., 2] > 60)
    moved = (turned[..., 0].astype(int) - before[..., 0] - turn * 255 + 128) % 255 - 128
    assert np.median(np.abs(moved[vivid])) <= 2


def test_the_four_parts_come_in_any_order():
    orders = Counter(
        tuple(name for name, _ in jitter_of(ImageAugment(jitter=1.0), np.random.default_rng(seed)))
        for seed in range(2400)
    )
    assert len(orders) == 24
    assert stats.chisquare(list(orders.values())).pvalue > 0.01


def test_a_blur_is_scipys_gaussian():
    from scipy.ndimage import correlate1d

    for seed in range(3):
        rng = np.random.default_rng(seed)
        rng.random()
        sigma = rng.uniform(0.5, 1.5)
        taps = np.exp(-0.5 * (np.arange(-1, 2) / sigma) ** 2)
        want = view().astype(np.float64)
        for axis in (1, 2):
            want = correlate1d(want, taps / taps.sum(), axis, mode="mirror")
        found = view(seed, blur=1.0, blur_sigma=(0.5, 1.5))
        assert np.abs(found - want).max() <= 1
    assert [kernel_of(224, 224), kernel_of(32, 24), kernel_of(300, 64)] == [23, 3, 7]


def test_a_store_made_before_there_was_colour_is_described_as_then():
    then = {
        "crop_scale": [0.5, 1.0],
        "crop_ratio": [0.75, 1.3333],
        "pad": 0,
        "flip": 0.0,
        "rand_augment": 0,
        "magnitude": 9,
    }
    assert ImageAugment(crop_scale=(0.5, 1.0)).described() == then
    assert ImageAugment(blur=0.5).described() == then | {"crop_scale": None, "blur": 0.5}
    with pytest.raises(ValueError, match=r"blur_sigma \[2\.0, 0\.1\]: expected \[least, most\]"):
        ImageAugment(blur=0.5, blur_sigma=(2, 0.1))
