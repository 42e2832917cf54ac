"""Low-rank updates: they start at nothing, they alone train, and they come back from the run's own weights."""

from pathlib import Path

import pytest
import timm
import torch
import transformers
from pydantic import ValidationError
from safetensors.torch import save_file
from tiny_models import SIZES, TEXTS, batch, bert_folder, features, images, open_clip_files
from torch import nn

from xmodal.errors import UserError
from xmodal.towers import build_tower, local_spec, save_tower
from xmodal.towers.kinds.open_clip import OpenCLIPTower
from xmodal.towers.kinds.store import StoreTower
from xmodal.towers.kinds.timm import TimmTower
from xmodal.towers.kinds.transformers import TransformersTower
from xmodal.towers.lora import LoRA, add_lora, own_state
from xmodal.towers.tower import Tower

RANK2 = LoRA(rank=2, alpha=6.0)


def text(folder):
    return TransformersTower.Spec(name=bert_folder(folder / "bert")), TEXTS


def vision(folder):
    config = transformers.ViTConfig(**SIZES, image_size=24, patch_size=8, hidden_dropout_prob=0.5)
    transformers.ViTModel(config).save_pretrained(folder / "vit")
    size = {"height": 24, "width": 24}
    transformers.ViTImageProcessorPil(size=size).save_pretrained(folder / "vit")
    return TransformersTower.Spec(name=str(folder / "vit")), images()


def clip(folder):
    config, weights, _ = open_clip_files(folder / "lora")
    return OpenCLIPTower.Spec(name=config, pretrained=weights, side="visual"), images()


def resnet(folder):
    model = timm.create_model("test_resnet", zero_init_last=False)  # a zero would hide the updates before it
    save_file({n: v.contiguous() for n, v in model.state_dict().items()}, folder / "w.safetensors")
    return TimmTower.Spec(name="test_resnet", weights=folder / "w.safetensors"), images()


@pytest.mark.parametrize("make", [text, vision, clip, resnet])
def test_only_the_updates_train_and_they_come_back(make, tmp_path):
    spec, items = make(tmp_path)
    plain, processor = build_tower(spec)
    targets = ("conv1", "conv2") if make is resnet else "auto"
    spec = spec.model_copy(update={"lora": RANK2.model_copy(update={"targets": targets})})
    tower, _ = build_tower(spec)
    assert not tower.locked
    assert not tower.guides
    tower.train()
    inputs = batch(processor, items)
    with torch.no_grad():  # training mode: the backbone's dropout and BatchNorm rest, and the updates are still zero
        torch.testing.assert_close(tower.features(inputs), features(plain, processor, items), atol=1e-6, rtol=0)
    trained = [name for name, p in tower.named_parameters() if p.requires_grad]
    assert trained
    assert all(".lora_" in name for name in trained)
    assert {n for n in tower.state_dict() if not tower.fixed(n)} == set(trained)

    optimizer = torch.optim.AdamW([p for p in tower.parameters() if p.requires_grad], lr=0.05)
    for _ in range(2):  # after the first step both factors have a gradient
        optimizer.zero_grad()
        tower(inputs).z[:, 0].sum().backward()
        optimizer.step()
    assert all(p.grad.abs().sum() > 0 for p in tower.parameters() if p.requires_grad)
    found = features(tower, processor, items)
    assert (found - features(plain, processor, items)).abs().max() > 1e-3
    own = own_state(tower.backbone)
    assert own.keys() == plain.backbone.state_dict().keys()
    assert all(torch.equal(value, own[name]) for name, value in plain.backbone.state_dict().items())

    save_tower(spec, tower, processor, tmp_path / "run" / "towers" / "x")
    updates = {name: value for name, value in tower.state_dict().items() if not tower.fixed(name)}
    for path in tmp_path.rglob("*.safetensors"):  # the run folder stands by itself
        if "run" not in Path(path).relative_to(tmp_path).parts:
            path.unlink()
    again, other = build_tower(local_spec(spec, tmp_path / "run" / "towers" / "x"))
    assert again.load_state_dict(updates, strict=False).unexpected_keys == []
    assert torch.equal(features(again, other, items), found)


def test_the_update_by_hand():
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(5, 4), nn.GELU(), nn.Linear(4, 3))
    own = [inner[0].weight.clone(), inner[0].bias.clone()]
    add_lora(inner, LoRA(rank=2, alpha=6.0, targets=("0",)))
    a, b = inner[0].lora_A["default"].weight, inner[0].lora_B["default"].weight
    assert (a.shape, b.shape) == ((2, 5), (4, 2))
    with torch.no_grad():
        b.normal_()
    x = torch.randn(7, 5)
    expected = x @ (own[0] + 6.0 / 2 * b @ a).T + own[1]
    torch.testing.assert_close(inner[0](x), expected)
    assert isinstance(inner[2], nn.Linear)


def test_dropout_is_on_the_updates_alone(tmp_path):
    spec, items = vision(tmp_path)
    tower, processor = build_tower(spec.model_copy(update={"lora": LoRA(rank=2, dropout=0.5)}))
    with torch.no_grad():
        for name, parameter in tower.named_parameters():
            if ".lora_B" in name:
                parameter.normal_()
        inputs = batch(processor, items)
        assert not torch.equal(tower.train().features(inputs), tower.features(inputs))
        assert torch.equal(tower.eval().features(inputs), tower.features(inputs))
    assert all("lora_dropout" in n for n, m in tower.train().backbone.named_modules() if m.training)


def test_what_the_config_says_of_it(tmp_path):
    spec = TransformersTower.Spec(name="m", lora=RANK2)
    assert not (spec).is_locked
    assert (spec).trains
    for mode in ("unlocked", "scratch"):
        with pytest.raises(ValidationError, match="lora goes with mode locked"):
            TransformersTower.Spec(name="m", mode=mode, lora=RANK2)
    with pytest.raises(ValidationError, match=r"tower\.lora: its updates train, so its features do not stay"):
        StoreTower.Spec(path=tmp_path, tower=spec)


def test_targets_that_are_not_there(tmp_path):
    spec, _ = resnet(tmp_path)
    with pytest.raises(UserError, match=r"auto: no linear map .*conv1"):
        build_tower(spec.model_copy(update={"lora": RANK2}))
    spec, _ = clip(tmp_path)
    with pytest.raises(UserError, match=r"\['attn'\]: no linear map .*c_fc, c_proj"):
        build_tower(spec.model_copy(update={"lora": LoRA(targets=("attn",))}))


def test_updates_are_told_by_what_they_are_not_by_their_names():
    """A backbone may call its own parts as peft calls its updates."""
    torch.manual_seed(0)
    backbone = nn.ModuleDict({"lora_head": nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))})
    backbone.width = 4
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    add_lora(backbone, LoRA(rank=2, targets=("0",)))
    tower = Tower(backbone, nn.Identity(), adapted=True)
    trained = {name for name in tower.state_dict() if name.startswith("backbone.") and not tower.fixed(name)}
    layer = "backbone.lora_head.0."
    assert trained == {f"{layer}lora_A.default.weight", f"{layer}lora_B.default.weight"}
    found = own_state(backbone)
    assert found.keys() == before.keys()
    assert all(torch.equal(found[name], value) for name, value in before.items())
