"""Codebook diversity against the equation as a loop, transformers' form of it, and its limits."""

import math

import pytest
import torch
from dense_reference import unit

from xmodal.batch import Embeddings
from xmodal.config.load import load_config
from xmodal.errors import UserError
from xmodal.objectives import CodebookDiversity

N, G, V = 7, 2, 5


def codes(requires_grad=False):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(N, G, V, dtype=torch.float64, generator=generator).softmax(-1).requires_grad_(requires_grad)


def of(p):
    return Embeddings.of(speech=unit(len(p), 3, 0), codes={"speech": p})


def entropies(p):
    found = []
    for g in range(G):
        mean = [sum(p[i, g, v] for i in range(len(p))) / len(p) for v in range(V)]
        found.append(-sum(m * m.log() for m in mean))
    return found


@pytest.mark.parametrize("form", ["perplexity", "entropy"])
def test_equals_the_loop(form):
    p = codes(True)
    H = entropies(p)
    want = (G * V - sum(h.exp() for h in H)) / (G * V) if form == "perplexity" else -sum(H) / (G * V)
    got = CodebookDiversity(form=form)(of(p), "speech")
    torch.testing.assert_close(got.value, want, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.autograd.grad(got.value, p), torch.autograd.grad(want, p), rtol=0, atol=1e-12)
    assert float(got.parts["perplexity_2"]) == pytest.approx(math.exp(float(H[1].detach())))


def test_all_entries_alike_give_0_and_one_alone_gives_most():
    even = torch.full((N, G, V), 1 / V, dtype=torch.float64)
    assert float(CodebookDiversity()(of(even), "speech").value) == pytest.approx(0, abs=1e-12)
    one = torch.zeros(N, G, V, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        one[..., 0] = 1
    got = CodebookDiversity()(of(one), "speech")
    assert float(got.value.detach()) == pytest.approx(1 - 1 / V)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        CodebookDiversity()(of(codes()[order]), "speech").value, CodebookDiversity()(of(codes()), "speech").value
    )
    assert torch.autograd.gradcheck(lambda p: CodebookDiversity()(of(p.softmax(-1)), "speech").value, codes(True))


def test_bf16_is_summed_in_fp32():
    value = CodebookDiversity()(of(codes().bfloat16()), "speech").value
    assert value.dtype == torch.float32
    assert bool(torch.isfinite(value))


def test_a_side_without_codebooks_is_known_before_training(tiny_config):
    term = "objective={align: {kind: infonce}, use: {kind: codebook_diversity, on: [speech]}}"
    with pytest.raises(UserError) as error:
        load_config(tiny_config, [term])
    line = "objective.use: codebook_diversity needs the codes of speech; set towers.speech.head={kind: quantizer}"
    assert line in str(error.value)
    load_config(tiny_config, [term, str(error.value).rpartition("; set ")[2]])
    with pytest.raises(UserError, match="these embeddings have no codes of 'speech'"):
        CodebookDiversity()(Embeddings.of(speech=unit(3, 3, 0)), "speech")
