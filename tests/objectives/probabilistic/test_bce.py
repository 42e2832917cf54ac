"""Binary cross-entropy against torch's, SigLIP and JSD as its relatives; every score; equal items."""

import pytest
import torch
from dense_reference import assert_same, embeddings, unit
from torch.nn.functional import binary_cross_entropy_with_logits

from xmodal.batch import Embeddings
from xmodal.objectives import BCE, JSD, SigLIP

N, D = 9, 6
SPEECH, TEXT = [0, 1, 2, 3, 0, 5, 6, 7, 8], [0, 1, 1, 3, 4, 5, 6, 7, 2]
ALIKE = torch.tensor([[float(SPEECH[i] == SPEECH[j] or TEXT[i] == TEXT[j]) for j in range(N)] for i in range(N)])


def exactly(objective, scale=3.0, bias=-1.0):
    """In float64, with a scale and a bias that are no rounded numbers."""
    objective.double().log_scale.data.fill_(torch.tensor(scale).double().log())
    if hasattr(objective, "bias"):
        objective.bias.data.fill_(bias)
    return objective


def test_equals_torchs_in_value_and_every_gradient():
    a, k = unit(N, D, 1, True), unit(N, D, 2, True)
    objective = exactly(BCE(balanced=False))
    found = objective(embeddings(a, k, k, SPEECH, TEXT), "speech", "text")
    logits = objective.log_scale.exp() * a @ k.T + objective.bias
    want = binary_cross_entropy_with_logits(logits, ALIKE.double())
    assert_same(found.value, want, a, k, objective.log_scale, objective.bias)
    torch.testing.assert_close(found.parts["loss"], want.detach())


def test_balanced_is_torchs_with_weights():
    a, k = unit(N, D, 1, True), unit(N, D, 2, True)
    objective = exactly(BCE(balanced=True))
    y = ALIKE.double()
    weights = torch.where(y > 0, 1 / (2 * y.sum()), 1 / (2 * (1 - y).sum()))
    want = binary_cross_entropy_with_logits(3 * a @ k.T - 1, y, weight=weights, reduction="sum")
    assert_same(objective(embeddings(a, k, k, SPEECH, TEXT), "speech", "text").value, want, a, k)


@pytest.mark.parametrize("score", ["dot", "euclidean"])
def test_scores_of_embeddings_before_normalisation(score):
    x, y = (2 * unit(N, D, 1)).requires_grad_(), unit(N, D, 2, True)
    e = Embeddings.of(speech=unit(N, D, 3), text=unit(N, D, 4), raw={"speech": x, "text": y})
    logits = 3 * (x @ y.T if score == "dot" else -torch.cdist(x, y)) - 1
    want = binary_cross_entropy_with_logits(logits, torch.eye(N).double())
    assert_same(exactly(BCE(score=score, balanced=False))(e, "speech", "text").value, want, x, y)


def test_a_bilinear_score_is_learned_for_each_pair_of_sides():
    a, k = unit(N, D, 1, True), unit(N, D, 2)
    objective = BCE(score="bilinear", balanced=False)
    objective.prepare([("speech", "text"), ("text", "speech")], {"speech": D, "text": D})
    assert sorted(objective.scores.maps) == ["speech-text", "text-speech"]
    matrix = exactly(objective).scores.maps["speech-text"]
    matrix.data.copy_(unit(D, D, 5))
    want = binary_cross_entropy_with_logits(3 * a @ matrix @ k.T - 1, torch.eye(N).double())
    assert_same(objective(Embeddings.of(speech=a, text=k), "speech", "text").value, want, a, matrix)


def test_its_relatives():
    e = embeddings(unit(N, D, 1), unit(N, D, 2), unit(N, D, 2), SPEECH, TEXT)
    found = exactly(BCE(balanced=False))(e, "speech", "text").value
    torch.testing.assert_close(N * found, exactly(SigLIP())(e, "speech", "text").value)
    alone = Embeddings.of(x=[unit(N, D, 1), unit(N, D, 2)])  # two views, no item twice
    half = exactly(JSD())(alone, "x").value / 2
    torch.testing.assert_close(exactly(BCE(balanced=True), bias=0.0)(alone, "x").value, half)


def test_gradcheck_and_one_item_and_half_precision():
    a, k = unit(5, D, 1, True), unit(5, D, 2, True)
    objective = exactly(BCE(balanced=False))
    assert torch.autograd.gradcheck(lambda x, y: objective(Embeddings.of(a=x, b=y), "a", "b").value, (a, k))
    one = BCE(balanced=True)(Embeddings.of(a=a[:1], b=k[:1]), "a", "b").value
    halves = BCE(temperature=0.01)(Embeddings.of(a=a.bfloat16(), b=k.bfloat16()), "a", "b").value
    assert bool(torch.isfinite(torch.stack([one, halves.double()])).all())
