"""Views of an image: nothing on is nothing changed, every number from the generator, crops as Szegedy et al. say."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from xmodal.config.data import ImageAugment
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


@pytest.mark.parametrize("spec", [{"crop_scale": (0.3, 1.0)}, {"pad": 4}, {"flip": 0.5}, {"rand_augment": 2}])
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
