"""Mel filters against torchaudio's, where that imports. Against their definition: test_speech_encoder.py."""

import warnings

import pytest
import torch

from xmodal.towers.own.mel_filters import mel_filters


@pytest.mark.parametrize(
    ("bins", "low", "high", "mels", "rate"),
    [
        (257, 50.0, 7_600.0, 64, 22_050),
        (257, 50.0, 7_600.0, 64, 44_099),  # odd rate, filters between two bins
        (129, 50.0, 3_900.0, 40, 8_000),
        (201, 0.0, 8_000.0, 80, 16_000),
        (513, 20.0, 11_025.0, 128, 22_050),
    ],
)
def test_agrees_with_torchaudio(bins, low, high, mels, rate):
    try:
        import torchaudio
    except (ImportError, OSError, RuntimeError) as error:  # it must have been built for this very torch
        pytest.skip(f"torchaudio does not import: {error}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of filters between two bins
        expected = torchaudio.functional.melscale_fbanks(bins, low, high, mels, rate)
    ours = mel_filters(bins, low, high, mels, rate)
    assert ours.shape == expected.shape == (bins, mels)
    assert (ours - expected).abs().max() < 1e-6


def test_filters_by_hand():
    # 0 to 700 Hz on the mel scale in four equal parts: edges 700 (2^(i / 4) - 1) Hz, bins of 350 Hz
    filters = mel_filters(3, 0.0, 700.0, 3, 1_400)
    edges = [700 * (2 ** (i / 4) - 1) for i in range(5)]
    expected = torch.tensor(
        [
            [0, 0, 0],
            [0, (edges[3] - 350) / (edges[3] - edges[2]), (350 - edges[2]) / (edges[3] - edges[2])],
            [0, 0, 0],
        ]
    )
    torch.testing.assert_close(filters, expected, atol=1e-5, rtol=0)
