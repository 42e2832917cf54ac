"""Low-rank updates under a head over sequences: both train, the rest stays, in chunks and out of the run's folder."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_bundles import shrink
from tiny_models import batch

import xmodal
from xmodal.aligner.aligner import Aligner, Term
from xmodal.batch import Clock, PairBatch, Rows
from xmodal.config.load import load_config
from xmodal.config.tower import TowerSpec
from xmodal.objectives.softmax.infonce import InfoNCE
from xmodal.towers import build_tower
from xmodal.towers.kinds.transformers import TransformersTower
from xmodal.towers.lora import own_state
from xmodal.towers.own.text_encoder import TextEncoderTower
from xmodal.towers.torchaudio_bundle.kind import TorchaudioTower
from xmodal.towers.tower import Tower
from xmodal.training.trainer import Trainer

HEAD = {
    "kind": "transformer", "dim": 8, "stack": 2, "hidden": 8, "layers": 1, "heads": 2, "feed_forward": 8, "dropout": 0,
}  # fmt: skip
WORDS = ["play music", "stop", "set the alarm now", "call", "play the lights", "stop it please", "red alarm"]


@pytest.fixture
def bert(tiny_bert: Path) -> tuple[TowerSpec, list]:
    lora = {"rank": 2, "targets": ["query", "value"]}
    return TransformersTower.Spec(name=str(tiny_bert), lora=lora, head=HEAD), WORDS


@pytest.fixture
def wav2vec2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[TowerSpec, list]:
    shrink("WAV2VEC2_BASE", monkeypatch, tmp_path / "w.safetensors", encoder_dropout=0.5)
    lora = {"rank": 2, "targets": ["q_proj", "v_proj"]}
    spec = TorchaudioTower.Spec(bundle="TINY", weights=tmp_path / "w.safetensors", lora=lora, head=HEAD)
    rng = np.random.default_rng(0)
    return spec, [rng.standard_normal(n).astype(np.float32) for n in (900, 400, 400, 700, 500, 900, 650)]


@pytest.fixture
def chosen_layer(tmp_path: Path) -> tuple[TowerSpec, list]:
    """transformers' wav2vec 2.0 with updates everywhere, of which the first of two layers is heard."""
    import transformers

    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, conv_dim=(8, 8),
        conv_kernel=(10, 4), conv_stride=(5, 4), num_feat_extract_layers=2, num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=4, hidden_dropout=0.5,
    )  # fmt: skip
    transformers.Wav2Vec2Model(config).save_pretrained(tmp_path / "w2v2")
    transformers.Wav2Vec2FeatureExtractor(sampling_rate=8000).save_pretrained(tmp_path / "w2v2")
    spec = TransformersTower.Spec(name=str(tmp_path / "w2v2"), layers=1, lora={"rank": 2}, head=HEAD)
    rng = np.random.default_rng(0)
    return spec, [rng.standard_normal(n).astype(np.float32) for n in (900, 400, 400, 700, 500, 900, 650)]


@pytest.fixture(params=["bert", "wav2vec2", "chosen_layer"])
def case(request: pytest.FixtureRequest) -> tuple[TowerSpec, list]:
    return request.getfixturevalue(request.param)


def test_updates_and_head_train_and_nothing_else(case: tuple[TowerSpec, list]) -> None:
    spec, items = case
    torch.manual_seed(0)
    tower, processor = build_tower(spec)
    plain, _ = build_tower(spec.model_copy(update={"lora": None}))
    plain.head.load_state_dict(tower.head.state_dict())
    inputs = batch(processor, items)
    with torch.no_grad():  # the updates begin at nothing, and the backbone's own dropout rests
        torch.testing.assert_close(tower.train()(inputs).z, plain.eval()(inputs).z, rtol=1e-5, atol=1e-6)
    trained = {name for name, parameter in tower.named_parameters() if parameter.requires_grad}
    assert {name for name in trained if name.startswith("backbone.")} == {n for n in trained if ".lora_" in n} != set()
    optimizer = torch.optim.AdamW([p for p in tower.parameters() if p.requires_grad], lr=0.05)
    for _ in range(2):  # after the first step both factors have a gradient
        optimizer.zero_grad()
        tower(inputs).z[:, 0].sum().backward()
        optimizer.step()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in tower.named_parameters() if ".lora_" in n)
    assert all((p.grad is not None) == p.requires_grad for p in tower.parameters())  # DDP waits for every one
    own = own_state(tower.backbone)
    assert all(torch.equal(value, own[name]) for name, value in plain.backbone.state_dict().items())


def gradients(tower: Tower, other: Tower, rows: dict[str, Rows], chunk: int | None) -> dict[str, torch.Tensor]:
    aligner = Aligner(
        {"a": tower, "b": other}, [Term("objective", InfoNCE(temperature=0.1), (("a", "b"),))], chunk
    ).train()
    aligner.zero_grad()
    ids = torch.arange(len(WORDS))
    aligner(PairBatch(rows, ids, {"a": ids, "b": ids}, clock=Clock(0, 10))).value.backward()
    return {name: p.grad.clone() for name, p in aligner.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("chunk", [1, 3])
def test_chunks_have_the_gradient_of_the_whole_batch(case: tuple[TowerSpec, list], chunk: int) -> None:
    spec, items = case
    torch.manual_seed(0)
    tower, processor = build_tower(spec)
    with torch.no_grad():
        for name, parameter in tower.named_parameters():
            if ".lora_B" in name:
                parameter.normal_(std=0.1)
    other, letters = build_tower(
        TextEncoderTower.Spec(width=8, layers=1, heads=2, feed_forward=8, dropout=0, head={"kind": "linear"}), 8
    )
    rows = {"a": batch(processor, items), "b": batch(letters, WORDS)}
    whole, cut = gradients(tower, other, rows, None), gradients(tower, other, rows, chunk)
    assert whole.keys() == cut.keys()
    assert any(".lora_A" in name and value.abs().max() > 0 for name, value in whole.items())
    assert any("head.blocks" in name for name in whole)
    for name, value in whole.items():
        torch.testing.assert_close(cut[name], value, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("chunk", ["null", "4"])
def test_a_run_with_both_comes_back(tiny_config: Path, tiny_bert: Path, tmp_path: Path, chunk: str) -> None:
    text = f"{{kind: transformers, name: {tiny_bert}, lora: {{rank: 2, targets: [query, value]}}, head: {HEAD}}}"
    overrides = [
        f"towers.text={text}", "objective.kind=infonce", "train.steps=4", f"train.chunk={chunk}", "evaluators={}",
        "towers.speech.head={kind: linear, dim: 8}",
    ]  # fmt: skip
    trainer = Trainer(load_config(tiny_config, overrides))
    trainer.fit()
    kept = load_file(tmp_path / "run" / "model.safetensors")
    backbone = {name for name in kept if name.startswith("towers.text.backbone.")}
    assert backbone
    assert all(".lora_" in name for name in backbone)
    assert all(kept[name].abs().max() > 0 for name in backbone)
    expected = trainer.judge.encoder.encode("text", WORDS)
    torch.testing.assert_close(xmodal.load(tmp_path / "run").encode("text", WORDS), expected, rtol=1e-5, atol=1e-6)
