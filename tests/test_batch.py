"""Embeddings that are given, not made: what does not fit together is said where it is handed over."""

import pytest
import torch

from xmodal.batch import Embeddings
from xmodal.errors import UserError

Z = torch.eye(4)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "nothing given; give sides by name"),
        ({"text": Z[0]}, r"text: found float32 \(4,\), expected embeddings of floating point, \(N, D\)"),
        ({"text": Z.long()}, r"text: found int64 \(4, 4\), expected embeddings of floating point"),
        ({"speech": Z, "text": Z[:3]}, r"text: found float32 \(3, 4\), expected 4 rows"),
        ({"speech": [Z, Z[:2]]}, r"speech: found float32 \(2, 4\), expected 4 rows"),
        (
            {"speech": Z, "ids": torch.arange(3)},
            r"ids: found Tensor \(3,\), expected a tensor with one of each row",
        ),
        ({"speech": Z, "labels": Z.long()}, r"labels: found Tensor \(4, 4\), expected a tensor with one of each row"),
        ({"speech": Z, "ids": [0, 1, 2, 3]}, r"ids: found list \(\), expected a tensor"),
        ({"speech": Z, "item_ids": {"speech": torch.arange(2)}}, r"item_ids of speech: found Tensor \(2,\)"),
        ({"speech": Z.numpy()}, r"speech: found ndarray, expected a tensor \(N, D\); see torch.as_tensor"),
        ({"speech": Z, "text": []}, "nothing given; give sides by name"),
    ],
)
def test_embeddings_that_do_not_fit_together(given: dict, told: str) -> None:
    with pytest.raises(UserError, match=told) as error:
        Embeddings.of(**given)
    assert "\n" not in str(error.value)


def test_views_and_sides_of_as_many_rows() -> None:
    made = Embeddings.of(speech=[Z, Z.flip(0)], text=Z.double())
    assert torch.equal(made.z("speech", 1), Z.flip(0))
    assert len(made) == 4
