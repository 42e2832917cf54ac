"""Heads over sequences: padding, stacking, the mix of layers, chunks; and what backbones give before they pool."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import transformers
from PIL import Image
from torch.nn import functional as F

from xmodal.aligner.aligner import Aligner, Term
from xmodal.batch import PairBatch
from xmodal.errors import UserError
from xmodal.objectives import InfoNCE
from xmodal.towers import OwnTower, build_tower
from xmodal.towers.frames import Frames, padded
from xmodal.towers.heads import Identity
from xmodal.towers.kinds.timm import TimmTower
from xmodal.towers.kinds.transformers import TransformersTower
from xmodal.towers.own.image_encoder import ImageEncoderTower
from xmodal.towers.own.speech_encoder import LogMel, SpeechEncoder, SpeechEncoderTower
from xmodal.towers.own.text_encoder import TextEncoderTower
from xmodal.towers.sequence_heads import Attention, SequenceHead, Transformer
from xmodal.towers.tower import Tower

SMALL: dict[str, Any] = {"hidden": 16, "layers": 2, "heads": 2, "feed_forward": 32, "stack": 3, "dropout": 0.0}


def sequences(*lengths: int, width: int = 12) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((length, width)).astype(np.float32) for length in lengths]


def heads(width: int = 12) -> list[SequenceHead]:
    torch.manual_seed(0)
    return [
        Attention(width, dim=8, heads=2).eval(),
        Transformer(width, dim=8, **SMALL).eval(),
        Transformer(width, dim=8, **{**SMALL, "mix": 3}).eval(),
    ]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_an_item_is_embedded_alike_whatever_it_is_batched_with(which: int) -> None:
    head, rows = heads()[which], sequences(7, 1, 20, 3)
    together = head(head.pool(padded(rows)))
    for at, row in enumerate(rows):
        alone = head(head.pool(padded([row])))
        torch.testing.assert_close(together[at : at + 1], alone, atol=1e-6, rtol=1e-5)
    longer = padded(rows)
    rubbish = Frames(F.pad(longer.values, (0, 0, 0, 9), value=1e4), longer.lengths)
    rubbish.values[1, 1:] = float("inf")
    torch.testing.assert_close(head(head.pool(rubbish)), together, atol=1e-6, rtol=1e-5)


def test_stacking_is_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    head = heads()[1]
    assert isinstance(head, Transformer)
    seen: list[torch.Tensor] = []
    enter = head.enter.forward
    monkeypatch.setattr(head.enter, "forward", lambda x: seen.append(x) or enter(x))
    [row] = sequences(7)
    head.pool(padded([row]))
    normal = F.layer_norm(torch.from_numpy(row), (12,), head.norm.weight, head.norm.bias)
    rows = [torch.cat([*normal[at : at + 3], *[torch.zeros(12)] * max(0, at + 3 - 7)]) for at in (0, 3, 6)]
    torch.testing.assert_close(seen[0][0], torch.stack(rows))


def test_the_mix_is_a_softmax_over_layers_normalised_one_by_one() -> None:
    head = heads()[2]
    [row] = sequences(5)
    with torch.no_grad():
        assert head.weights is not None
        head.weights.copy_(torch.tensor([0.3, -1.0, 2.0]))
    shares = np.exp([0.3, -1.0, 2.0]) / np.exp([0.3, -1.0, 2.0]).sum()
    parts = row.reshape(5, 3, 4)
    normal = (parts - parts.mean(-1, keepdims=True)) / np.sqrt(parts.var(-1, keepdims=True) + 1e-5)
    expected = np.einsum("tlg,l->tg", normal, shares)
    np.testing.assert_allclose(head.steps(padded([row]))[0].detach().numpy(), expected, atol=1e-5)


def test_sizes_that_do_not_fit_are_refused_in_one_line() -> None:
    for settings, said in [
        ({"mix": 5}, r"head.mix: 5 layers, but the backbone's 12 features"),
        ({"hidden": 10, "heads": 4}, r"head.heads: 10 features are no multiple of 4 heads"),
    ]:
        with pytest.raises(UserError, match=said) as error:
            Transformer(12, dim=8, **settings)
        assert "\n" not in str(error.value)


def test_the_backbone_is_locked_and_only_the_head_trains() -> None:
    torch.manual_seed(0)
    encoder = SpeechEncoder(mels=8, width=16, layers=1, heads=2, feed_forward=32)
    tower = Tower(encoder, Transformer(16, dim=8, **SMALL), locked=True)
    processor = LogMel(sample_rate=8000, mels=8, high=3900)
    waves = [np.random.default_rng(n).standard_normal(4000 + 900 * n).astype(np.float32) for n in range(3)]
    tower(processor.collate([processor.features(wave) for wave in waves])).raw.sum().backward()
    assert all(p.grad is None for p in tower.backbone.parameters())
    assert all(p.grad is not None for p in tower.head.parameters())
    assert (tower.width, tower.dim, tower.features_stay, tower.guides) == (16, 8, False, False)
    assert {id(p) for p in tower.feature_parameters()} == {id(p) for p in tower.head.pooling_parameters()}  # type: ignore[operator]


@pytest.mark.parametrize("locked", [True, False])
def test_chunks_change_neither_value_nor_gradient(locked: bool) -> None:
    def trained(chunk: int | None) -> tuple[float, list[torch.Tensor]]:
        torch.manual_seed(0)
        encoder = SpeechEncoder(mels=8, width=16, layers=1, heads=2, feed_forward=32, dropout=0.0)
        speech = Tower(encoder, Transformer(16, dim=8, **SMALL), locked=locked)
        text = Tower(torch.nn.Identity(), Identity(8), locked=True)
        text.backbone.width, text.backbone.forward = 8, lambda inputs: inputs["rows"]  # type: ignore[assignment]
        aligner = Aligner(
            {"speech": speech, "text": text}, [Term("objective", InfoNCE(), (("speech", "text"),))], chunk
        )
        processor = LogMel(sample_rate=8000, mels=8, high=3900)
        rng = np.random.default_rng(1)
        waves = [rng.standard_normal(3000 + 500 * n).astype(np.float32) for n in range(7)]
        ids = torch.arange(7)
        inputs = {
            "speech": processor.collate([processor.features(wave) for wave in waves]),
            "text": {"rows": torch.from_numpy(rng.standard_normal((7, 8)).astype(np.float32))},
        }
        loss = aligner(PairBatch(inputs, ids, {"speech": ids, "text": ids})).value
        loss.backward()
        missing = [name for name, p in speech.named_parameters() if p.requires_grad and p.grad is None]
        assert missing == []
        return float(loss.detach()), [p.grad for p in speech.parameters() if p.grad is not None]

    whole, chunked = trained(None), trained(3)
    assert whole[0] == pytest.approx(chunked[0], abs=1e-6)
    for one, other in zip(whole[1], chunked[1], strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_the_patches_and_tokens_of_libraries_models(tiny_bert: Path, tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8))
    head = Attention.Spec(dim=4, heads=2)
    small = {"patch_size": 8, "depth": 2, "embed_dim": 16, "num_heads": 2}
    spec = TimmTower.Spec(name="vit_tiny_patch16_224", mode="scratch", image_size=32, options=small, head=head)
    tower, processor = build_tower(spec)
    inputs = processor.collate([processor.features(image)])
    found = tower.eval().sequence(inputs)
    expected = tower.backbone.model.forward_features(inputs["pixels"])[:, 1:]  # type: ignore[union-attr]
    torch.testing.assert_close(found.values, expected)
    assert found.lengths.tolist() == [16]

    cnn, processor = build_tower(TimmTower.Spec(name="test_efficientnet.r160_in1k", mode="scratch", head=head))
    inputs = processor.collate([processor.features(image)])
    grid = cnn.eval().backbone.model.forward_features(inputs["pixels"])  # type: ignore[union-attr]
    assert isinstance(cnn.backbone.model, timm.models.efficientnet.EfficientNet)  # type: ignore[union-attr]
    torch.testing.assert_close(cnn.sequence(inputs).values[0, 1], grid[0, :, 0, 1])

    text, words = build_tower(TransformersTower.Spec(name=str(tiny_bert), head=head))
    batch = words.collate([words.features("play some music"), words.features("stop")])
    hidden = transformers.AutoModel.from_pretrained(tiny_bert)(**{k: batch[k] for k in ("input_ids", "attention_mask")})
    torch.testing.assert_close(text.sequence(batch).values, hidden.last_hidden_state, atol=1e-5, rtol=1e-4)
    assert text.sequence(batch).lengths.tolist() == batch["attention_mask"].sum(1).tolist()


@pytest.mark.parametrize("kind", [SpeechEncoderTower, TextEncoderTower, ImageEncoderTower])
def test_our_own_encoders_give_what_they_pool(kind: type[OwnTower]) -> None:
    tower, processor = build_tower(kind.Spec(head=Attention.Spec(dim=4)))
    item = {
        "audio": np.random.default_rng(0).standard_normal(12_000).astype(np.float32),
        "text": "turn on the lights",
        "image": Image.new("RGB", (32, 32), (9, 200, 30)),
    }[processor.kind]
    inputs = processor.collate([processor.features(item)])
    tower.eval()
    steps, pooled = tower.sequence(inputs), tower.backbone(inputs)
    if processor.kind == "image":
        torch.testing.assert_close(steps.values.mean(1) + steps.values.amax(1), pooled)
    else:
        torch.testing.assert_close(tower.backbone.pool(steps.values, steps.mask()[:, None, None]), pooled)  # type: ignore[operator]
    tower(inputs).z.sum().backward()
    assert all(p.grad is not None for p in tower.parameters() if p.requires_grad)


def test_a_backbone_that_gives_vectors_takes_no_such_head(tmp_path: Path) -> None:
    class Vectors(torch.nn.Module):
        width = 4

    spec = SpeechEncoderTower.Spec(head=Attention.Spec())
    from xmodal.towers import kind_of

    kind = kind_of(spec)
    load = type(kind).load
    try:
        type(kind).load = lambda self, spec: (Vectors(), load(self, spec)[1])  # type: ignore[method-assign]
        with pytest.raises(UserError, match="head 'attention' works over a sequence, and this backbone gives one"):
            build_tower(spec)
    finally:
        type(kind).load = load  # type: ignore[method-assign]
