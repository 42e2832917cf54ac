"""Pictures of prompt robustness: real PNGs whose pixels show what the numbers say."""

import io

import numpy as np
import pytest
from PIL import Image

from xmodal.report.robustness_figures import CurvePoint, template_curve, template_ranking

BLUE, ORANGE = (31, 111, 235), (217, 72, 15)  # the first two runs


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def rows_of(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """The rows of the plot area (left of any legend's text) in which a colour occurs."""
    return np.flatnonzero((np.abs(image - np.array(colour)).max(axis=-1) < 30).any(axis=1))


def flat(mean: float, spread: float = 0.0) -> list[CurvePoint]:
    return [CurvePoint(k, mean, mean - spread, mean + spread, mean - 2 * spread, mean + 2 * spread) for k in (1, 5, 18)]


def test_the_better_run_is_drawn_higher():
    image = pixels(template_curve({"one": flat(0.9), "two": flat(0.3)}, "two runs"))
    lines = image[:, : image.shape[1] // 2]  # the legend may stand elsewhere
    assert np.median(rows_of(lines, BLUE)) < np.median(rows_of(lines, ORANGE))


def test_a_wider_band_covers_more():
    """Both have the same extremes, so the axis is the same; only the band differs."""
    colours = []
    for inside in (0.02, 0.1):
        points = [CurvePoint(k, 0.5, 0.5 - inside, 0.5 + inside, 0.3, 0.7) for k in (1, 5, 18)]
        image = pixels(template_curve({"one": points}, "band"))
        colours.append((np.abs(image - np.array((221, 233, 252))).max(axis=-1) < 8).mean())  # 15% of blue on white
    assert colours[1] == pytest.approx(5 * colours[0], rel=0.25)


def test_ranking_puts_the_best_template_of_the_first_run_on_top():
    templates = ["low {c}", "high {c}", "middle {c}"]
    accuracies = {"one": [0.1, 0.9, 0.5], "two": [0.5, 0.5, 0.5]}
    intervals = {"one": [(0.1, 0.1), (0.9, 0.9), (0.5, 0.5)], "two": [(0.5, 0.5)] * 3}
    shuffled = [2, 0, 1]
    png = template_ranking(templates, accuracies, intervals, "ranked")
    again = template_ranking(
        [templates[i] for i in shuffled],
        {run: [values[i] for i in shuffled] for run, values in accuracies.items()},
        {run: [values[i] for i in shuffled] for run, values in intervals.items()},
        "ranked",
    )
    assert png == again
    blue = np.abs(pixels(template_ranking(templates, {"one": accuracies["one"]}, intervals, "")) - np.array(BLUE))
    dots = np.argwhere(blue.max(axis=-1) < 30)
    top, bottom = dots[dots[:, 0].argmin()], dots[dots[:, 0].argmax()]
    assert top[1] > bottom[1] + 200  # the best on top is far to the right of the worst


def test_sizes_stay_readable():
    for count in (1, 18, 80):
        names = [
            f"a rather long template number {i} of which ${{c}}$ is only a small part of it all" for i in range(count)
        ]
        runs = {f"run {i}": list(np.linspace(0, 1, count)) for i in range(2)}
        spans = {run: [(v, v) for v in values] for run, values in runs.items()}
        width, height = Image.open(io.BytesIO(template_ranking(names, runs, spans, "all"))).size
        assert 700 <= width <= 1600
        assert 150 <= height <= 2600


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="no points"):
        template_curve({}, "")
    with pytest.raises(ValueError, match="2 templates: expected an accuracy"):
        template_ranking(["a", "b"], {"one": [0.5]}, {"one": [(0, 1)]}, "")
