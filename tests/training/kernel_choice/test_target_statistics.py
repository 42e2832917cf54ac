"""Statistics of targets against loops over the dense rows, in float64; and the batches they are made of."""

import math

import numpy as np
import pytest
import torch
from dense_reference import one_hot, same_matrix, target_matrix, unit
from kernel_cases import BOTH, CASES, SPEECH_TWICE, UNIQUE, G, N

from xmodal.config.load import load_config
from xmodal.encoding.stores.build import build_store
from xmodal.errors import UserError
from xmodal.objectives.kernels import ONE_HOT
from xmodal.same_items import SameItems
from xmodal.training.kernel_choice.target_statistics import (
    GuideBatch,
    TargetStatistics,
    drawn_batches,
    target_statistics_of,
    why_left_out,
)

LABELS = [0, 0, 1, -1, 2, 1, 0, 2, -1, 1, 0, 2]


def batch(ids, seed, labels=LABELS):
    relations = [torch.tensor(x) for x in ids]
    return GuideBatch(unit(N, G, seed), SameItems(*relations), torch.tensor(labels))


def by_loops(rows, same, labels):
    """[H, (sum w)^2 / sum w^2, T_ii, mass on others] of each row, and the mass on its label where it has one."""
    found, on_label = [], []
    for i, row in enumerate(rows):
        found.append(
            [
                -sum(p * math.log(p) for p in row if p > 0),
                sum(row) ** 2 / sum(p * p for p in row),
                row[i],
                sum(p for j, p in enumerate(row) if not same[i][j]),
            ]
        )
        if labels[i] >= 0:
            on_label.append(sum(p for j, p in enumerate(row) if labels[j] == labels[i]))
    return found, on_label


@pytest.mark.parametrize("ids", [UNIQUE, SPEECH_TWICE, BOTH], ids=["unique", "twice", "both"])
@pytest.mark.parametrize("name", CASES)
def test_statistics_are_those_of_the_dense_rows(name, ids):
    kernel, reference = CASES[name]
    same = same_matrix(*ids)
    batches, rows, on_label = [batch(ids, 1), batch(ids, 2)], [], []
    for each in batches:
        T = target_matrix(*reference, each.guide, same)
        found, labelled = by_loops(T.tolist(), same, LABELS)
        rows += found
        on_label += labelled
    expected = [*np.mean(rows, axis=0), np.mean(on_label)]
    found = target_statistics_of(kernel, batches)
    assert [
        found.entropy,
        found.effective_positives,
        found.diagonal_mass,
        found.spread,
        found.same_label,
    ] == pytest.approx(expected, abs=1e-9)
    assert found.pairs == N


def test_one_hot_targets_and_no_labels():
    same = same_matrix(*SPEECH_TWICE)
    found = target_statistics_of(ONE_HOT, [batch(SPEECH_TWICE, 1, [-1] * N)])
    assert found.spread == pytest.approx(0)
    assert found.same_label is None
    assert found.diagonal_mass == pytest.approx(one_hot(same).diagonal().mean())
    assert str(found).endswith("0.000 of the mass on other items")


def test_why_left_out():
    def statistics(spread, positives):
        return TargetStatistics(1.0, positives, 0.5, spread, None, 100)

    assert why_left_out(statistics(0.0199, 2), 0.02, 0.9) == (
        "almost one-hot: 0.0199 of the mass on other items, less than 0.02"
    )
    assert why_left_out(statistics(0.95, 91), 0.02, 0.9) == (
        "almost uniform: 0.9100 of the batch are effective positives, more than 0.9"
    )
    assert why_left_out(statistics(0.02, 90), 0.02, 0.9) == ""


def test_batches_hold_the_stores_features(tiny_config, tiny_bert, tmp_path):
    path = tmp_path / "store"
    text = f"towers.text={{kind: store, path: {path}, tower: {{kind: transformers, name: {tiny_bert}}}}}"
    config = load_config(tiny_config, [text, "data.leave_out_labels=[call]"])
    store = build_store(config.towers["text"], config, "text")
    batches = drawn_batches(config, ("speech", "text"))
    again = drawn_batches(config, ("speech", "text"))
    features = torch.nn.functional.normalize(torch.from_numpy(store.all_rows().copy()), dim=1)
    for one, two in zip(batches, again, strict=True):
        assert one.guide.shape == (10, 32)
        torch.testing.assert_close(one.guide, two.guide, rtol=0, atol=0)
        nearest = (one.guide @ features.T).amax(1)
        torch.testing.assert_close(nearest, torch.ones(10))
        equal = (one.guide @ one.guide.T) > 1 - 1e-6  # equal texts, and they alone
        assert torch.equal(one.same.fill(torch.zeros(10, 10), slice(0, 10), 1.0).bool(), equal)
        assert set(one.labels.tolist()) <= {1, 2, 3}  # of call, play, set, stop
    assert len({batch.guide.sum().item() for batch in batches}) == 4
    with pytest.raises(UserError, match=r"train\.jsonl has 0 pairs that can be used, expected two or more"):
        drawn_batches(
            load_config(tiny_config, [text, "data.leave_out_labels=[call, play, set, stop]"]), ("speech", "text")
        )
