"""Pictures: real PNGs whose pixels show what the numbers say."""

import io

import numpy as np
import pytest
from PIL import Image

from xmodal.report.figures import confusion, curves, similarity_matrix


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def share(image: np.ndarray, colour: tuple[int, int, int], near: int = 40) -> float:
    """Of the picture, the share of pixels close to a colour."""
    return float((np.abs(image - np.array(colour)).max(axis=-1) < near).mean())


def blue(png: bytes) -> np.ndarray:
    """Which pixels have the first line's colour, [H, W] bool."""
    return np.abs(pixels(png) - np.array((31, 111, 235))).max(axis=-1) < 40


YELLOW, VIOLET = (253, 231, 37), (68, 1, 84)  # the ends of the colour map


def test_similarity_is_sorted_into_blocks():
    """Two interleaved classes, cosine 1 inside and 0 between: four solid quarters, whatever the order given."""
    labels = ["b", "a"] * 20
    same = np.array(labels)[:, None] == np.array(labels)[None, :]
    picture = similarity_matrix(same.astype(float), labels, "two classes")
    image = pixels(picture)
    yellow, violet = share(image, YELLOW), share(image, VIOLET)
    assert yellow > 0.15
    assert yellow == pytest.approx(violet, abs=0.05)
    where = np.argwhere(np.abs(image - np.array(YELLOW)).max(axis=-1) < 40)
    top, left = where.min(axis=0)
    assert (np.abs(image[top + 5 : top + 60, left + 5 : left + 60] - np.array(YELLOW)) < 40).all()  # no stripes

    order = np.argsort(labels, kind="stable")
    assert similarity_matrix(same[np.ix_(order, order)], [labels[i] for i in order], "two classes") == picture


def test_similarity_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="does not fit 3 labels"):
        similarity_matrix(np.eye(2), ["a", "b", "c"], "")
    with pytest.raises(ValueError, match="does not fit 0 labels"):
        similarity_matrix(np.zeros((0, 0)), [], "")


def test_confusion_shows_shares_of_rows():
    """A perfect and a shifted classifier over classes of different size: the same amount of full blue."""
    names = [f"intent {i}" for i in range(20)]
    true = [name for i, name in enumerate(names) for _ in range(i + 1)]
    shifted = [names[(names.index(t) + 1) % 20] for t in true]
    dark = (8, 48, 107)
    right, wrong = pixels(confusion(true, true, names)), pixels(confusion(true, shifted, names))
    assert share(right, dark, 20) > 0.01
    assert share(right, dark, 20) == pytest.approx(share(wrong, dark, 20), rel=0.05)
    with pytest.raises(ValueError, match="1 labels are not among the 2 class names, first 'c'"):
        confusion(["a", "c"], ["a", "b"], ["a", "b"])


@pytest.mark.parametrize("classes", [1, 10, 64])
def test_pictures_stay_a_readable_size(classes):
    names = [f"a_rather_long_domain_and_intent_name_{i}" for i in range(classes)]
    matrix = np.eye(classes)
    for png in (
        similarity_matrix(matrix, names, "$ma_th"),
        confusion(names, names, names),
    ):
        width, height = Image.open(io.BytesIO(png)).size
        assert 400 <= width <= 1600
        assert 150 <= height <= 2000
        assert len(png) < 400_000


def test_curves_take_gaps_and_nothing():
    for empty in ({}, {"loss": []}):
        assert not blue(curves(empty, "Loss", "loss")).any()
    flat = {"loss": [(0, 1.0), (1, 1.0), (2, 1.0), (3, 1.0)]}
    gap = {"loss": [(0, 1.0), (1, float("nan")), (2, float("inf")), (3, 1.0)]}
    whole, two = (np.flatnonzero(blue(curves(series, "Loss", "loss")).any(axis=0)) for series in (flat, gap))
    assert np.ptp(whole) + 1 == len(whole)  # from the first step to the last, without a gap
    assert len(two) < 0.2 * len(whole)  # two points and nothing between them


def test_more_curves_than_colours_are_told_apart_by_dashes():
    """The first and the ninth have one colour: a whole line, and one with gaps."""
    many = {f"run {i}": [(0, i), (100, i)] for i in range(9)}
    picture = blue(curves(many, "Accuracy", "accuracy"))
    left = picture[:, : picture.shape[1] // 2]  # the legend is on the right
    rows = np.flatnonzero(left.any(axis=1))
    ninth, first = np.split(rows, np.flatnonzero(np.diff(rows) > 20) + 1)
    widths = [left[lines].any(axis=0)[left.shape[1] // 4 :].mean() for lines in (first, ninth)]
    assert widths[0] == 1
    assert 0.3 < widths[1] < 0.95


def test_a_thousand_classes_have_a_picture_too():
    names = [f"class {n}" for n in range(1000)]
    true, predicted = names * 2, names + names[::-1]
    with Image.open(io.BytesIO(confusion(true, predicted, names))) as picture:
        assert picture.width > 800
        assert len(picture.convert("RGB").getcolors(100_000)) > 3
