"""Tower: where things are normalised, what locking means, and that a saved tower comes back bit for bit."""

import hashlib

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from xmodal.errors import UserError
from xmodal.store import StoreWriter
from xmodal.towers import build_tower, local_spec, save_tower
from xmodal.towers.heads import Identity, Linear
from xmodal.towers.kinds.store import StoreTower
from xmodal.towers.own.speech_encoder import SpeechEncoderTower
from xmodal.towers.tower import Tower
from xmodal.towers.weights import save_backbone

SMALL = {"width": 16, "layers": 1, "heads": 2, "feed_forward": 32, "mels": 20, "sample_rate": 16000}


class Toy(nn.Module):
    """A backbone whose dropout and BatchNorm would betray training mode."""

    width = 6

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5))

    def forward(self, inputs):
        return self.layers(inputs["x"])


def inputs(n=8):
    return {"x": torch.randn(n, 4, generator=torch.Generator().manual_seed(0)) * 3}


def waves(seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(n).astype(np.float32) for n in (16000, 4000, 9000)]


def test_output_is_the_unit_vector_of_the_head_and_guide_that_of_the_features():
    torch.manual_seed(0)
    tower = Tower(Toy(), Linear(6, 3)).eval()
    out = tower(inputs())
    features = tower.backbone(inputs())
    for row, guide, feature in zip(out.z, out.guide, features, strict=True):
        h = tower.head.weight @ feature + tower.head.bias
        torch.testing.assert_close(row, h / h.square().sum().sqrt())
        torch.testing.assert_close(guide, feature / feature.square().sum().sqrt())
    assert out.z.requires_grad
    assert not out.guide.requires_grad
    assert (tower.width, tower.dim, tower.guides) == (6, 3, False)


def test_raw_features_projected_are_the_forward_pass():
    tower = Tower(Toy(), Linear(6, 3), locked=True)
    assert torch.equal(tower.project(tower.features(inputs())).z, tower(inputs()).z)


def test_locked_backbone_stays_in_evaluation_mode_and_bit_identical():
    torch.manual_seed(0)
    tower = Tower(Toy(), Linear(6, 3), locked=True)
    before, print_before = {n: v.clone() for n, v in tower.backbone.state_dict().items()}, tower.fingerprint()
    optimizer = torch.optim.AdamW(tower.parameters(), lr=0.1, weight_decay=0.5)
    nn.ModuleList([tower]).train()  # as a parent module would
    assert tower.head.training
    assert not any(module.training for module in tower.backbone.modules())
    first = tower(inputs()).guide
    for _ in range(3):
        optimizer.zero_grad()
        tower(inputs()).z.sum().backward()
        optimizer.step()
    assert torch.equal(tower(inputs()).guide, first)
    assert all(torch.equal(v, before[n]) for n, v in tower.backbone.state_dict().items())
    assert tower.fingerprint() == print_before
    assert not tower.features(inputs()).requires_grad


def test_unlocked_tower_trains():
    tower = Tower(Toy(), Identity(6))
    tower(inputs()).z[:, 0].sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in tower.backbone.named_parameters() if "0." in n)
    assert tower.backbone.training


def test_only_a_locked_tower_without_a_head_guides():
    assert Tower(Toy(), Identity(6), locked=True).guides
    assert not Tower(Toy(), Identity(6)).guides
    assert not Tower(Toy(), Linear(6), locked=True).guides


def test_fingerprint_by_hand_and_what_changes_it():
    class One(nn.Module):
        width = 2

        def __init__(self):
            super().__init__()
            self.register_buffer("b", torch.tensor([1, 2], dtype=torch.int16))
            self.a = nn.Parameter(torch.tensor([[1.0, -2.0]]))

    tower = Tower(One(), Linear(2))
    by_hand = hashlib.sha256(b" One\n")
    by_hand.update(b"a torch.float32 (1, 2)\n" + np.float32([1, -2]).tobytes())
    by_hand.update(b"b torch.int16 (2,)\n" + np.int16([1, 2]).tobytes())
    assert tower.fingerprint() == by_hand.hexdigest()
    with torch.no_grad():
        tower.head.weight += 1
    assert tower.fingerprint() == by_hand.hexdigest()  # the head is not part of it
    tower.backbone.b[1] = 3
    assert tower.fingerprint() != by_hand.hexdigest()
    tower.bfloat16().fingerprint()  # numpy has no such type; its bytes still count


def test_speech_encoder_head_takes_the_other_sides_width_unless_told():
    assert build_tower(SpeechEncoderTower.Spec(**SMALL), out_dim=24)[0].dim == 24
    assert build_tower(SpeechEncoderTower.Spec(**SMALL))[0].dim == 16
    assert build_tower(SpeechEncoderTower.Spec(**SMALL, head=Linear.Spec(dim=5)), out_dim=24)[0].dim == 5


def test_a_trained_speech_encoder_comes_back_from_its_spec_and_the_runs_weights(tmp_path):
    spec = SpeechEncoderTower.Spec(**SMALL)
    tower, processor = build_tower(spec, out_dim=7)
    save_tower(spec, tower, processor, tmp_path / "speech")
    again, other = build_tower(local_spec(spec, tmp_path / "speech"), out_dim=7)
    again.load_state_dict(tower.state_dict())  # what a run's model.safetensors holds
    batch = processor.collate([processor.features(w) for w in waves()])
    same = other.collate([other.features(w) for w in waves()])
    assert all(torch.equal(batch[key], same[key]) for key in batch)
    assert torch.equal(tower.eval()(batch).z, again.eval()(same).z)
    assert processor.describe() == other.describe()


@pytest.mark.parametrize("mode", ["locked", "unlocked"])
def test_weights_of_a_run_are_taken_over(tmp_path, mode):
    torch.manual_seed(0)
    first, processor = build_tower(SpeechEncoderTower.Spec(**SMALL), out_dim=7)
    other, _ = build_tower(SpeechEncoderTower.Spec(**SMALL | {"width": 20}), out_dim=7)
    state = {f"towers.speech.{n}": v for n, v in first.state_dict().items()}
    state |= {f"towers.other.{n}": v for n, v in other.state_dict().items()}
    save_file(state | {"objective.log_scale": torch.ones(1)}, tmp_path / "model.safetensors")
    spec = SpeechEncoderTower.Spec(**SMALL, mode=mode, weights=tmp_path)
    tower, _ = build_tower(spec, out_dim=7)
    assert tower.fingerprint() == first.fingerprint()
    assert tower.locked == (mode == "locked")
    # a locked tower's weights live in its folder, so the run it came from may go
    save_tower(spec, tower, processor, tmp_path / "run" / "towers" / "speech")
    (tmp_path / "model.safetensors").unlink()
    again, _ = build_tower(local_spec(spec, tmp_path / "run" / "towers" / "speech"), out_dim=7)
    assert again.locked == tower.locked
    assert (again.fingerprint() == tower.fingerprint()) == tower.locked
    # and a later run may take them over from the run folder, where they are under towers/
    if mode == "locked":
        save_file({"towers.speech.head.weight": torch.ones(1)}, tmp_path / "run" / "model.safetensors")
        later, _ = build_tower(SpeechEncoderTower.Spec(**SMALL, mode=mode, weights=tmp_path / "run"))
        assert later.fingerprint() == first.fingerprint()


def test_behind_a_store_the_live_tower_is_saved_and_the_stores_head_kept(tmp_path):
    live_spec = SpeechEncoderTower.Spec(**SMALL, head=Identity.Spec())
    made, processor = build_tower(live_spec)
    save_backbone(made.backbone, tmp_path / "first")
    locked = live_spec.model_copy(update={"mode": "locked", "weights": tmp_path / "first"})
    fingerprint = {"model": "m", "revision": None, "weights": made.fingerprint(), "preprocessing": {}, "data": "d"}
    batch = processor.collate([processor.features(w) for w in waves()])
    rows = made.eval().features(batch).detach().numpy()
    with StoreWriter(tmp_path / "store", np.arange(3), 16, fingerprint, "plan") as writer:
        writer.write(0, np.arange(3), rows)
    writer.finish({})

    spec = StoreTower.Spec(path=tmp_path / "store", tower=locked, head=Linear.Spec(dim=4))
    stored, ids = build_tower(spec)
    assert (stored.locked, stored.width, stored.dim) == (True, 16, 4)
    save_tower(spec, stored, ids, tmp_path / "speech")
    again, other = build_tower(local_spec(spec, tmp_path / "speech"))
    assert again.fingerprint() == made.fingerprint()
    again.head.load_state_dict(stored.head.state_dict())
    found = stored.eval()(ids.collate([ids.features(i) for i in range(3)])).z
    same = other.collate([other.features(w) for w in waves()])
    torch.testing.assert_close(found, again.eval()(same).z, atol=1e-6, rtol=0)


def test_bfloat16_keeps_the_output_unit_norm_and_close():
    torch.manual_seed(0)
    tower, processor = build_tower(SpeechEncoderTower.Spec(**SMALL), out_dim=7)
    batch = processor.collate([processor.features(w) for w in waves()])
    exact = tower.eval()(batch).z
    with torch.autocast("cpu", torch.bfloat16):
        z = tower(batch).z
    assert z.dtype == torch.float32
    torch.testing.assert_close(z.norm(dim=1), torch.ones(3), atol=1e-6, rtol=0)
    assert (z * exact).sum(1).min() > 0.999


def test_weights_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"model\.safetensors: not found"):
        build_tower(SpeechEncoderTower.Spec(**SMALL, mode="locked", weights=tmp_path))
    save_backbone(build_tower(SpeechEncoderTower.Spec(**SMALL))[0].backbone, tmp_path / "voice")
    with pytest.raises(UserError, match=r"expected one tower .*voice in .*those of that run"):
        build_tower(SpeechEncoderTower.Spec(**SMALL | {"layers": 2}, mode="locked", weights=tmp_path / "voice"))
    (tmp_path / "voice" / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        build_tower(SpeechEncoderTower.Spec(**SMALL, mode="locked", weights=tmp_path / "voice"))


def test_the_head_before_normalisation_is_told():
    torch.manual_seed(0)
    tower = Tower(Toy(), Linear(6, 3)).eval()
    out = tower(inputs())
    expected = tower.backbone(inputs()) @ tower.head.weight.T + tower.head.bias
    torch.testing.assert_close(out.raw, expected)
    torch.testing.assert_close(out.z, expected / expected.norm(dim=1, keepdim=True))
    out.raw.sum().backward()
    assert tower.head.weight.grad is not None
