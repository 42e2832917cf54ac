"""VSE++ against the paper's equations as loops, for every score; equal items; its identities."""

import pytest
import torch
from dense_reference import assert_same, unit
from torch.nn.functional import normalize

from xmodal.batch import Embeddings
from xmodal.objectives import VSEPP

N, D = 9, 6
SPEECH, TEXT = [0, 1, 2, 3, 0, 5, 6, 7, 8], [0, 1, 1, 3, 4, 5, 6, 7, 2]
M = unit(D, D, 7)
SCORES = {
    "cosine": lambda a, k: normalize(a, dim=0) @ normalize(k, dim=0),
    "dot": lambda a, k: a @ k,
    "bilinear": lambda a, k: normalize(a, dim=0) @ M @ normalize(k, dim=0),
    "euclidean": lambda a, k: -(a - k).norm(),
}


def loop(a, k, score, margin, negatives, alike):
    """1707.05612, equations 5 (sum of hinges) and 6 (hardest negatives), the mean over items."""
    total = 0
    for i in range(N):
        own = score(a[i], k[i])
        others = [j for j in range(N) if not alike(i, j)]
        for hinges in (
            [(margin + score(a[i], k[j]) - own).clamp(min=0) for j in others],
            [(margin + score(a[j], k[i]) - own).clamp(min=0) for j in others],
        ):
            total = total + (max(hinges) if negatives == "hardest" else sum(hinges))
    return total / N


@pytest.mark.parametrize("negatives", ["hardest", "all"])
@pytest.mark.parametrize("score", SCORES)
def test_equals_the_papers_loop_with_equal_items(score, negatives):
    x, y = (2 * unit(N, D, 1)).requires_grad_(), unit(N, D, 2, True)
    objective = VSEPP(score=score, negatives=negatives, reduction="sum").double()
    objective.prepare([("speech", "text")], {"speech": D, "text": D})
    objective.double()
    if score == "bilinear":
        objective.scores.maps["speech-text"].data.copy_(M)
    ids = {"speech": torch.tensor(SPEECH), "text": torch.tensor(TEXT)}
    raw = {"speech": x, "text": y}
    e = Embeddings.of(speech=normalize(x, dim=1), text=normalize(y, dim=1), raw=raw, item_ids=ids)
    found = objective(e, "speech", "text").value
    want = loop(x, y, SCORES[score], 0.2, negatives, lambda i, j: SPEECH[i] == SPEECH[j] or TEXT[i] == TEXT[j])
    assert_same(found, want, x, y)


def test_a_bilinear_score_starts_as_the_cosine():
    e = Embeddings.of(speech=unit(N, D, 1), text=unit(N, D, 2))
    values = [VSEPP(score=score)(e, "speech", "text").value for score in ("bilinear", "cosine")]
    torch.testing.assert_close(*values)


def test_two_views_are_two_sides_and_the_mean_is_half_the_sum():
    a, k = unit(N, D, 1), unit(N, D, 2)
    two = VSEPP()(Embeddings.of(speech=a, text=k), "speech", "text").value
    torch.testing.assert_close(VSEPP()(Embeddings.of(x=[a, k]), "x").value, two)
    torch.testing.assert_close(VSEPP(reduction="sum")(Embeddings.of(x=[a, k]), "x").value, 2 * two)


@pytest.mark.parametrize("negatives", ["hardest", "all"])
def test_a_margin_that_no_item_meets_is_said_and_has_a_gradient_of_zero(negatives):
    z = torch.eye(4, dtype=torch.float64, requires_grad=True)
    for rows in (z, z[:1]):  # the one item of a batch has no negative at all
        found = VSEPP(negatives=negatives)(Embeddings.of(speech=rows, text=rows), "speech", "text")
        assert (float(found.value.detach()), float(found.parts["active"])) == (0, 0)
        assert not torch.autograd.grad(found.value, z)[0].any()
