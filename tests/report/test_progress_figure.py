"""Names beside curves do not overlap; the picture holds fourteen curves."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.optimize import minimize

from xmodal.report.progress_figure import quality_against_seconds, spread


def test_names_move_as_little_as_it_takes() -> None:
    assert spread([0.9, 0.89, 0.2], 0.05) == pytest.approx([0.92, 0.87, 0.2])
    assert spread([0.9, 0.5], 0.05) == [0.9, 0.5]
    rng = np.random.default_rng(0)
    places = np.sort(rng.random(6))[::-1]
    apart = 0.1
    rules = [{"type": "ineq", "fun": lambda y, i=i: y[i] - y[i + 1] - apart} for i in range(5)]
    best = minimize(lambda y: ((y - places) ** 2).sum(), places, constraints=rules, tol=1e-12).x  # least squares
    assert spread(places.tolist(), apart) == pytest.approx(best, abs=1e-5)


def test_fourteen_curves() -> None:
    series = {f"objective {i}": [(10.0 * t, 0.5 + 0.004 * i - 0.3 / (t + 1)) for t in range(1, 9)] for i in range(14)}
    picture = Image.open(io.BytesIO(quality_against_seconds(series, "dev: acc1", intervals={"objective 1": (0, 1)})))
    assert picture.width > picture.height > 400
    with pytest.raises(ValueError, match="no points"):
        quality_against_seconds({"infonce": []}, "acc1")
