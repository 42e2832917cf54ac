"""The speech encoder: its front end against its definition written out, and that padding changes nothing."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from xmodal.towers.own.speech_encoder import LogMel, SpeechEncoder, SpeechEncoderTower
from xmodal.towers.own.transformer import AttentionPooling, Block, sinusoids

SMALL = {"width": 16, "layers": 2, "heads": 2, "feed_forward": 32, "mels": 20}


def noise(n, seed=0):
    return np.random.default_rng(seed).standard_normal(n).astype(np.float32) * 0.1


def log_mel_by_loop(wave, rate, mels, fft, hop, low, high, a):
    """The definition, in float64, one frame and one filter at a time."""
    y = np.array([wave[0]] + [wave[t] - a * wave[t - 1] for t in range(1, len(wave))], np.float64)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(fft) / fft)
    points = 2595 * np.log10(1 + np.array([low, high]) / 700)
    edges = 700 * (10 ** (np.linspace(points[0], points[1], mels + 2) / 2595) - 1)
    frequencies = np.arange(fft // 2 + 1) * rate / fft
    rows = []
    for start in range(0, len(y) - fft + 1, hop):
        power = np.abs(np.fft.rfft(y[start : start + fft] * window)) ** 2
        row = []
        for m in range(mels):
            up = (frequencies - edges[m]) / (edges[m + 1] - edges[m])
            down = (edges[m + 2] - frequencies) / (edges[m + 2] - edges[m + 1])
            row.append(np.log(np.maximum(0, np.minimum(up, down)) @ power + 1e-6))
        rows.append(row)
    logmel = np.array(rows)
    return (logmel - logmel.mean()) / (logmel.std() + 1e-5)


@pytest.mark.parametrize(("rate", "hop", "samples"), [(22050, 10.0, 220), (16000, 12.5, 200)])
def test_log_mel_by_loop(rate, hop, samples):
    wave = noise(5000)
    features = LogMel(sample_rate=rate, hop=hop, mels=30).features(wave)
    assert features.dtype == np.float16
    expected = log_mel_by_loop(wave, rate, 30, 512, samples, 50, 7600, 0.97)
    np.testing.assert_allclose(features.astype(np.float64), expected, atol=4e-3)  # float16


def test_log_mel_is_deterministic_indifferent_to_volume_and_takes_any_length():
    processor, wave = LogMel(), 10 * noise(8000)
    assert np.array_equal(processor.features(wave), LogMel().features(wave.copy()))
    np.testing.assert_allclose(
        processor.features(wave).astype(float), processor.features(8 * wave).astype(float), atol=5e-3
    )
    for length in (0, 1, 511, 512, 731):
        assert processor.features(noise(length)).shape == (1, 64)
    assert processor.features(noise(512 + 220)).shape == (2, 64)
    assert not processor.features(np.zeros(3000, np.float32)).any()  # silence: nothing to normalise, nothing to see


def test_top_db_follows_the_loudest_bin():
    wave, plain = 10 * noise(8000), LogMel(preemphasis=0)
    wave[4000:] *= 1e-4  # 80 dB below the rest: the 24 dB of the noise's own spread do not reach across
    processor = LogMel(preemphasis=0, top_db=60)
    features = processor.features(wave).astype(np.float64)
    for gain in (1e-4, 1e3):  # exactly the same, however loud the recording
        np.testing.assert_allclose(processor.features(np.float32(gain) * wave).astype(np.float64), features, atol=2e-3)
    quiet = features[20:]
    assert (quiet == quiet[0, 0]).all()
    assert (plain.features(wave)[20:] != plain.features(wave)[20, 0]).any()
    spread = plain.features(wave).astype(np.float64)[:17]  # the loud frames: the same up to a straight line
    assert np.corrcoef(spread.ravel(), features[:17].ravel())[0, 1] == pytest.approx(1, abs=1e-4)
    assert not processor.features(np.zeros(3000, np.float32)).any()


def test_collate():
    processor = LogMel()
    a, b = processor.features(noise(9000)), processor.features(noise(3000))
    batch = processor.collate([a, b])
    assert batch["lengths"].tolist() == [len(a), len(b)]
    assert batch["features"].dtype == torch.float32
    assert torch.equal(batch["features"][1, : len(b)], torch.from_numpy(b.astype(np.float32)))
    assert not batch["features"][1, len(b) :].any()


@pytest.mark.parametrize(
    ("kernel", "strides"), [(5, (2, 2, 2)), (3, (2, 2)), (4, (3, 2)), (1, (1,)), (7, (4,))], ids=str
)
def test_padding_changes_nothing(kernel, strides):
    torch.manual_seed(0)
    encoder = SpeechEncoder(**SMALL, kernel=kernel, strides=strides).eval()
    utterances = [torch.randn(n, 20) for n in (1, 2, 7, 50, 51, 52, 53, 120)]
    lengths = torch.tensor([len(u) for u in utterances])
    alone = torch.cat([encoder({"features": u[None], "lengths": torch.tensor([len(u)])}) for u in utterances])
    for total in (120, 121, 1000):
        batch = torch.full((len(utterances), total, 20), 7.0)  # junk beyond the end must not matter either
        for row, u in zip(batch, utterances, strict=True):
            row[: len(u)] = u
        torch.testing.assert_close(encoder({"features": batch, "lengths": lengths}), alone, atol=1e-5, rtol=0)


def test_gradients_do_not_depend_on_padding():
    torch.manual_seed(0)
    encoder = SpeechEncoder(**SMALL, dropout=0.0)
    x, lengths = torch.randn(2, 40, 20), torch.tensor([40, 23])
    grads = []
    for extra in (0, 33):
        encoder.zero_grad()
        padded = torch.cat([x, torch.randn(2, extra, 20)], 1)
        encoder({"features": padded, "lengths": lengths}).square().sum().backward()
        grads.append([p.grad.clone() for p in encoder.parameters()])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_block_equals_torchs_own_layer():
    torch.manual_seed(0)
    block = Block(16, 2, 32, 0.0)
    theirs = torch.nn.TransformerEncoderLayer(16, 2, 32, 0.0, "gelu", batch_first=True, norm_first=True)
    ours = dict(block.named_parameters())
    names = {
        "self_attn.in_proj": "qkv", "self_attn.out_proj": "out", "linear1": "expand", "linear2": "contract",
        "norm1": "attention_norm", "norm2": "mlp_norm",
    }  # fmt: skip
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            stem, kind = (name[:-7], "weight") if name.endswith("weight") else (name[:-5], "bias")
            parameter.copy_(ours[f"{names[stem.rstrip('._')]}.{kind}"])
    x, valid = torch.randn(3, 9, 16), torch.arange(9) < torch.tensor([9, 4, 1])[:, None]
    expected = theirs(x, src_key_padding_mask=~valid)
    torch.testing.assert_close(block(x, valid[:, None, None])[valid], expected[valid], atol=1e-5, rtol=1e-5)


def test_attention_pooling_by_loop():
    torch.manual_seed(0)
    pool, x, length = AttentionPooling(8, 2), torch.randn(1, 5, 8), 3
    pooled = pool(x, (torch.arange(5) < length)[None, None, None])
    keys, values = pool.kv(x[0, :length]).chunk(2, dim=-1)
    heads = []
    for h in range(2):
        part = slice(4 * h, 4 * h + 4)
        weights = torch.softmax(keys[:, part] @ pool.query[0, h, 0] / 4**0.5, dim=0)
        heads.append(sum(w * v for w, v in zip(weights, values[:, part], strict=True)))
    torch.testing.assert_close(pooled[0], pool.out(torch.cat(heads)), atol=1e-6, rtol=1e-5)


def test_sinusoids_tell_positions_apart():
    table = sinusoids(500, 16)
    assert table.shape == (500, 16)
    assert sinusoids(4, 5).shape == (4, 5)
    np.testing.assert_allclose(table[3, [0, 8]], [np.sin(3), np.cos(3)], atol=1e-6)
    gaps = torch.cdist(table, table) + 9 * torch.eye(500)
    assert gaps.min() > 0.1


def test_load_builds_what_the_spec_says():
    spec = SpeechEncoderTower.Spec(**SMALL, sample_rate=8000, high=3800.0, kernel=3, strides=(2, 2))
    backbone, processor = SpeechEncoderTower().load(spec)
    assert processor.sample_rate == 8000
    assert len(backbone.convolutions) == 2
    assert backbone.width == 16
    assert backbone(processor.collate([processor.features(noise(4000))])).shape == (1, 16)
    with pytest.raises(ValidationError, match="strides"):
        SpeechEncoderTower.Spec(strides=())
