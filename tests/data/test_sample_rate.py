"""Resampling against torchaudio's, where that is installed and imports, and against the formula written out."""

import math

import numpy as np
import pytest
import torch

from xmodal.data.sample_rate import resample

RATES = [(8_000, 16_000), (8_000, 22_050), (22_050, 16_000), (44_100, 16_000), (44_100, 22_050), (192_000, 16_000)]


def noise(samples):
    return torch.from_numpy(np.random.default_rng(0).standard_normal(samples))


@pytest.mark.parametrize(("rate", "new"), RATES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_agrees_with_torchaudio(rate, new, dtype, tolerance):
    try:
        import torchaudio
    except (ImportError, OSError, RuntimeError) as error:  # it must have been built for this very torch
        pytest.skip(f"torchaudio does not import: {error}")
    x = noise(5_001).to(dtype)
    # its module rounds the kernel to float32 at the end, unless a type is named
    expected = torchaudio.transforms.Resample(rate, new, dtype=None if dtype == torch.float32 else dtype)(x)
    ours = resample(x, rate, new)
    assert ours.shape == expected.shape
    assert ours.dtype == dtype
    assert (ours - expected).abs().max() < tolerance


def by_loop(x, rate, new):
    """Every output as a sum over all inputs, in float64."""
    band = 0.99 * min(rate, new)
    out = np.zeros(math.ceil(len(x) * new / rate))
    for j in range(len(out)):
        t = band * (np.arange(len(x)) / rate - j / new)
        weights = np.where(np.abs(t) < 6, np.sinc(t) * np.cos(np.pi * t / 12) ** 2, 0) * band / rate
        out[j] = weights @ x
    return out


@pytest.mark.parametrize(("rate", "new"), [(8_000, 11_025), (22_050, 16_000), (3, 7), (7, 3)])
@pytest.mark.parametrize("samples", [1, 2, 300])
def test_is_the_formula(rate, new, samples):
    x = noise(samples)
    np.testing.assert_allclose(resample(x, rate, new).numpy(), by_loop(x.numpy(), rate, new), atol=1e-12)


def test_common_factors_do_not_matter():
    x = noise(1_000)
    assert torch.equal(resample(x, 441, 160), resample(x, 44_100, 16_000))
