"""Our text encoder: bytes by hand, padding without effect, and its spec."""

import torch
from tiny_models import TEXTS, batch, check_padding, embed

from xmodal.towers import build_tower, local_spec, save_tower
from xmodal.towers.own.text_encoder import ByteText, TextEncoderTower

SMALL = {"width": 16, "layers": 2, "heads": 2, "feed_forward": 32, "max_length": 40}


def test_tokens_are_the_bytes_between_start_and_end():
    text = ByteText(max_length=6)
    assert text.features("on").tolist() == [256, 111, 110, 257]
    assert text.features("").tolist() == [256, 257]
    assert text.features("zurück").tolist() == [256, *"zurü".encode()[:4], 257]  # cut, even inside a letter
    found = text.collate([text.features("on"), text.features("")])
    assert found["tokens"].tolist() == [[256, 111, 110, 257], [256, 257, 0, 0]]
    assert found["lengths"].tolist() == [4, 2]


def test_padding_changes_nothing():
    torch.manual_seed(0)
    tower, processor = build_tower(TextEncoderTower.Spec(**SMALL))
    check_padding(tower, processor, [*TEXTS, "ßÄ漢字🙂"])


def test_order_counts():
    tower, processor = build_tower(TextEncoderTower.Spec(**SMALL))
    one, two = embed(tower, processor, ["man bites dog", "dog bites man"])
    assert (one - two).abs().max() > 1e-3


def test_load_builds_what_the_spec_says():
    backbone, processor = TextEncoderTower().load(TextEncoderTower.Spec(**SMALL))
    assert len(backbone.blocks) == 2
    assert backbone(batch(processor, ["x" * 100])).shape == (1, 16)
    assert len(processor.features("x" * 100)) == 40


def test_every_part_trains_and_comes_back(tmp_path):
    spec = TextEncoderTower.Spec(**SMALL)
    tower, processor = build_tower(spec, out_dim=7)
    tower(batch(processor, TEXTS)).z[:, 0].sum().backward()
    assert all(p.grad is not None for p in tower.parameters())
    save_tower(spec, tower, processor, tmp_path / "text")
    again, other = build_tower(local_spec(spec, tmp_path / "text"), out_dim=7)
    again.load_state_dict(tower.state_dict())
    assert torch.equal(embed(again, other, TEXTS), embed(tower, processor, TEXTS))
