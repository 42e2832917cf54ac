"""Learning rate by depth: against BEiT's own formula, on the backbones of four libraries, and beside rules."""

import logging

import open_clip
import pytest
import timm
import torch
import transformers
from timm.optim import param_groups_layer_decay
from torch import nn

from xmodal.config.schema import OptimSpec, Rule
from xmodal.errors import UserError
from xmodal.towers.heads import Linear
from xmodal.towers.own.speech_encoder import SpeechEncoder
from xmodal.towers.tower import Tower
from xmodal.training.layer_decay import depth_scales
from xmodal.training.optim import parameter_groups

SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16}


def beit(name: str, depth: int) -> int:
    """BEiT's get_num_layer_for_vit (github.com/microsoft/unilm, beit/optim_factory.py), as it stands there."""
    if name in ("cls_token", "mask_token", "pos_embed") or name.startswith("patch_embed"):
        return 0
    if name.startswith("blocks"):
        return int(name.split(".")[1]) + 1
    return depth + 1


def test_a_vit_has_the_rates_of_beit() -> None:
    model = timm.create_model("vit_tiny_patch16_224", depth=3, embed_dim=24, num_heads=2, num_classes=5)
    names = [name for name, _ in model.named_parameters()]
    assert depth_scales(names, 0.65) == {name: 0.65 ** (4 - beit(name, 3)) for name in names}


def test_a_vit_has_the_rates_of_timm_below_its_last_norm() -> None:
    """timm counts the last norm to the last block, and a head to neither; the blocks are those of ours."""
    model = timm.create_model("vit_tiny_patch16_224", depth=3, embed_dim=24, num_heads=2, num_classes=5)
    named = {id(parameter): name for name, parameter in model.named_parameters()}
    theirs = {
        named[id(p)]: group["lr_scale"]
        for group in param_groups_layer_decay(model, layer_decay=0.65, min_scale=0.0)
        for p in group["params"]
    }
    ours = depth_scales(list(theirs), 0.65)
    assert ours is not None
    compared = {name: share for name, share in theirs.items() if not name.startswith("norm")}
    assert {name: ours[name] for name in compared} == pytest.approx(compared)


def shares(model: nn.Module, *starts: str) -> list[float]:
    """The one share, at 0.5, of the parameters that start so each."""
    found = depth_scales([name for name, _ in model.named_parameters()], 0.5)
    assert found is not None
    each = [{share for name, share in found.items() if name.startswith(start)} for start in starts]
    assert [len(some) for some in each] == [1] * len(starts)
    return [some.pop() for some in each]


def test_bert_whisper_and_wav2vec2() -> None:
    bert = transformers.BertModel(transformers.BertConfig(vocab_size=9, **SIZES))
    layers = [f"encoder.layer.{i}." for i in range(3)]
    assert shares(bert, "embeddings", *layers, "pooler") == [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1]
    config = transformers.WhisperConfig(d_model=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=16)
    whisper = transformers.models.whisper.modeling_whisper.WhisperEncoder(config)
    assert shares(whisper, "conv1", "layers.0.", "layers.1.", "layer_norm") == [1 / 8, 1 / 4, 1 / 2, 1]
    config = transformers.Wav2Vec2Config(
        **SIZES, conv_dim=(8, 8), conv_kernel=(4, 4), conv_stride=(2, 2), num_feat_extract_layers=2
    )
    wav2vec2 = transformers.Wav2Vec2Model(config)
    layers = [f"encoder.layers.{i}." for i in range(3)]
    starts = ("feature_extractor", "feature_projection", "encoder.pos_conv_embed", *layers)
    assert shares(wav2vec2, *starts) == [1 / 16, 1 / 16, 1 / 16, 1 / 8, 1 / 4, 1 / 2]


def test_open_clip_and_its_projections() -> None:
    """They are parameters of the module itself, which torch lists before its blocks."""
    vision = {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 8, "layers": 2}
    text = {"context_length": 8, "vocab_size": 20, "width": 16, "heads": 2, "layers": 2}
    model = open_clip.CLIP(8, vision, text)
    blocks = [f"transformer.resblocks.{i}." for i in range(2)]
    found = shares(model.visual, "conv1", "class_embedding", "positional_embedding", *blocks, "ln_post", "proj")
    assert found == [1 / 8, 1 / 8, 1 / 8, 1 / 4, 1 / 2, 1, 1]
    texts = open_clip.transformer.TextTransformer(context_length=8, vocab_size=20, width=16, heads=2, layers=2)
    starts = ("text_projection", "token_embedding", "positional_embedding", *blocks, "ln_final")
    assert shares(texts, *starts) == [1, 1 / 8, 1 / 8, 1 / 4, 1 / 2, 1]


def test_blocks_within_stages_are_counted_through() -> None:
    model = timm.create_model("test_convnext", num_classes=0)
    names = [name for name, _ in model.named_parameters()]
    found = depth_scales(names, 0.5)
    assert found is not None
    order = list(dict.fromkeys(found[name] for name in names))
    assert order == sorted(order)
    assert order[-1] == 1.0 if names[-1].startswith(("norm", "head")) else 0.5


def model(**backbones: nn.Module) -> nn.Module:
    towers = nn.ModuleDict({side: Tower(backbone, Linear(backbone.width)) for side, backbone in backbones.items()})  # type: ignore[arg-type]
    return nn.ModuleDict({"towers": towers, "terms": nn.ModuleDict({"objective": nn.Linear(1, 1)})})


def speech(layers: int = 2) -> SpeechEncoder:
    return SpeechEncoder(mels=8, width=16, layers=layers, heads=2, feed_forward=16, strides=(2,), dropout=0.0)


def test_groups_log_and_rules(caplog: pytest.LogCaptureFixture) -> None:
    rules = (Rule(match=r"blocks\.1\.expand", lr_scale=0.3), Rule(match="head", lr_scale=0.1))
    spec = OptimSpec(layer_decay=0.5, weight_decay=0.1, rules=rules)
    module = model(speech=speech())
    groups = parameter_groups(module, spec)
    found = {name: (group["lr_scale"], group["weight_decay"]) for group in groups for name in group["names"]}
    assert len(found) == len(list(module.parameters()))
    prefix = "towers.speech.backbone."
    assert found[f"{prefix}convolutions.0.weight"] == (0.125, 0.1)
    assert found[f"{prefix}enter.bias"] == (0.125, 0.0)
    assert found[f"{prefix}blocks.0.expand.weight"] == (0.25, 0.1)
    assert found[f"{prefix}blocks.1.out.weight"] == (0.5, 0.1)
    assert found[f"{prefix}blocks.1.expand.weight"] == (0.3, 0.1)  # the rule's
    assert found[f"{prefix}pool.query"] == (1.0, 0.1)
    assert found["towers.speech.head.weight"] == (0.1, 0.1)
    assert found["terms.objective.weight"] == (1.0, 0.1)
    counts = {share: sum(s == share and n.startswith(prefix) for n, (s, _) in found.items()) for share in (0.125, 0.25)}
    line = f"speech: {counts[0.125]} parameters at 0.125, {counts[0.25]} parameters at 0.25, 10 parameters at 0.5, "
    assert f"optim.layer_decay: {line}" in caplog.text


class Flat(nn.Module):
    """A backbone whose names number nothing."""

    width = 4

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)


def test_backbones_without_blocks(caplog: pytest.LogCaptureFixture) -> None:
    spec = OptimSpec(layer_decay=0.5)
    with pytest.raises(
        UserError, match=r"layer_decay: 0\.5, but the names of the image backbone.*first is first\.weight"
    ) as raised:
        parameter_groups(model(speech=speech(), image=Flat()), spec)
    assert r"{match: '^towers.image.backbone', lr_scale: 0.1}" in str(raised.value)
    ruled = spec.model_copy(update={"rules": (Rule(match="^towers.image.backbone", lr_scale=0.1),)})
    groups = parameter_groups(model(speech=speech(), image=Flat()), ruled)  # the way out works
    assert {0.1, 0.125, 0.25, 0.5, 1.0} == {group["lr_scale"] for group in groups}
    locked = nn.ModuleDict({"towers": nn.ModuleDict({"image": Tower(Flat(), Linear(4), locked=True)})})
    with pytest.raises(UserError, match=r"layer_decay: 0\.5, but no backbone trains"):
        parameter_groups(locked, spec)


def test_a_whole_rate_asks_for_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        [*groups] = parameter_groups(model(image=Flat()), OptimSpec())
    assert {group["lr_scale"] for group in groups} == {1.0}
    assert not caplog.text


def test_updates_inside_a_backbone_have_its_rates() -> None:
    from xmodal.towers.lora import LoRA, add_lora

    torch.manual_seed(0)
    backbone = speech()
    add_lora(backbone, LoRA(rank=2, targets=("expand",)))
    tower = Tower(backbone, Linear(16), adapted=True)
    groups = parameter_groups(nn.ModuleDict({"towers": nn.ModuleDict({"speech": tower})}), OptimSpec(layer_decay=0.5))
    found = {name: group["lr_scale"] for group in groups for name in group["names"] if "lora" in name}
    assert {int(name.split("blocks.")[1][0]): share for name, share in found.items()} == {0: 0.25, 1: 0.5}


def test_blocks_above_a_chosen_layer_do_not_count() -> None:
    backbone = speech(layers=3)
    backbone.blocks[2].requires_grad_(False)
    groups = parameter_groups(model(speech=backbone), OptimSpec(layer_decay=0.5))
    found = {name: group["lr_scale"] for group in groups for name in group["names"]}
    shares = {int(name.split("blocks.")[1][0]): share for name, share in found.items() if "blocks." in name}
    assert shares == {0: 0.25, 1: 0.5}
    assert found["towers.speech.backbone.enter.weight"] == 0.125
