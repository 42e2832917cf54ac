"""The quantizer head against wav2vec 2.0's of transformers, with the same weights and the same noise."""

import pytest
import torch
from transformers import Wav2Vec2Config
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2GumbelVectorQuantizer

from xmodal.batch import Clock
from xmodal.config.schedule import Schedule, value_at
from xmodal.errors import UserError
from xmodal.objectives.regularisers.codebook_diversity import perplexity
from xmodal.towers.heads import Linear
from xmodal.towers.quantizer import Quantizer
from xmodal.towers.tower import Tower

G, GROUPS, V, W, B = 12, 2, 5, 4, 9


@pytest.fixture
def both():
    """Ours and theirs, of the same weights."""
    torch.manual_seed(0)
    ours = Quantizer(G, 6, groups=GROUPS, entries=V, code_width=W)
    sizes = {"num_codevector_groups": GROUPS, "num_codevectors_per_group": V, "codevector_dim": GROUPS * W}
    theirs = Wav2Vec2GumbelVectorQuantizer(Wav2Vec2Config(conv_dim=(G,), conv_stride=(1,), conv_kernel=(1,), **sizes))
    theirs.weight_proj.load_state_dict(ours.logits.state_dict())
    theirs.codevectors.data.copy_(ours.codebook.detach().view(1, GROUPS * V, W))
    return ours, theirs


@pytest.mark.parametrize("training", [True, False])
def test_equals_transformers(both, training):
    ours, theirs = (module.train(training) for module in both)
    x = torch.randn(B, G, generator=torch.Generator().manual_seed(1), requires_grad=True)
    found = []
    ours.at(Clock(50, 101))
    theirs.temperature = ours.temperature
    for module, make in ((ours, ours.quantized), (theirs, lambda features: theirs(features[None])[0][0])):
        torch.manual_seed(3)  # of the Gumbel noise
        codevectors = make(x)
        codebook = module.codebook if module is ours else module.codevectors
        gradients = torch.autograd.grad(codevectors.square().sum(), (x, codebook), allow_unused=True)
        found.append((codevectors, gradients[0], gradients[1].view(GROUPS, V, W)))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-5)
    assert (found[0][1] is None) == (not training)  # the largest logit is no function with a slope
    told = perplexity(ours.codes(x).mean(0))
    torch.testing.assert_close(told.sum(), theirs(x[None])[1], rtol=1e-5, atol=1e-5)
    assert bool((told >= 1 - 1e-6).all())
    assert bool((told <= V + 1e-4).all())


def test_in_training_entries_are_drawn_and_in_evaluation_the_likeliest_is_taken(both):
    head, x = both[0], torch.randn(B, G)
    assert not torch.equal(head(x), head(x))
    head.eval()
    assert torch.equal(head(x), head(x))
    logits = head.logits(x).view(B, GROUPS, V)
    rows = [torch.cat([head.codebook[g, int(logits[i, g].argmax())] for g in range(GROUPS)]) for i in range(B)]
    torch.testing.assert_close(head(x), head.project(torch.stack(rows)))
    assert head.codes(x).sum() == B * GROUPS


def test_the_temperature_falls_by_the_same_factor_at_every_step(both):
    head = both[0]
    seen = []
    for step in range(5):
        head.at(Clock(step, 5))
        seen.append(head.temperature)
    assert seen == pytest.approx([2 * 0.25 ** (step / 4) for step in range(5)])
    # BASE of the paper: 0.999995 at each of 400,000 updates, at least 0.5
    paper = Schedule(schedule="exponential", start=2.0, to=0.5, until=0.69315)
    for step in (0, 1000, 200_000, 277_000, 300_000, 399_999):
        assert value_at(paper, Clock(step, 400_000)) == pytest.approx(max(2 * 0.999995**step, 0.5), rel=1e-4)
    with pytest.raises(UserError, match="exponential is between numbers above 0, not from 2 to 0"):
        Quantizer(G, temperature={"schedule": "exponential", "from": 2, "to": 0})


def test_a_head_without_codebooks_has_no_codes():
    with pytest.raises(
        UserError, match=r"codes of a head that is a Linear; set towers\.SIDE\.head=\{kind: quantizer\}"
    ):
        Tower(torch.nn.Identity(), Linear(4)).codes(torch.randn(2, 4))
