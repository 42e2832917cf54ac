"""The relation of equal items against a double loop; it need not be transitive."""

import torch
from dense_reference import same_matrix, unit
from hypothesis import given, settings
from hypothesis import strategies as st

from xmodal.same_items import SameItems

ids = st.integers(1, 14).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(-3, n), min_size=n, max_size=n) for _ in range(2)])
)


@settings(max_examples=80, deadline=None)
@given(ids)
def test_equals_the_double_loop(both):
    first, second = both
    n = len(first)
    want = same_matrix(first, second)
    same = SameItems(torch.tensor(first), torch.tensor(second))
    assert same.count.tolist() == [sum(row) for row in want]
    assert same.pair_count == sum(map(sum, want))
    assert same.unique == (same.pair_count == n)
    i, j = same.pairs()
    assert sorted(zip(i.tolist(), j.tolist(), strict=True)) == [
        (i, j) for i in range(n) for j in range(n) if want[i][j]
    ]
    index = torch.arange(n - 1, -1, -1)
    assert same.fill(torch.zeros(n, n), index, 1.0).bool().tolist() == want[::-1]
    x = unit(n, 3, 0)
    torch.testing.assert_close(same.sum(x), torch.tensor(want).double() @ x, rtol=1e-12, atol=1e-12)


def test_ids_of_full_int64_range():
    first = torch.tensor([2**63 - 1, -(2**63), 2**63 - 1])
    assert SameItems(first, torch.tensor([5, 6, 7])).count.tolist() == [2, 1, 2]


def test_nothing():
    assert SameItems(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)).pair_count == 0
