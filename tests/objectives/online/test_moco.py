"""MoCo against lightly's loss with a memory bank, and the queue against a list."""

import math

import pytest
import torch
from dense_reference import unit
from lightly.loss import NTXentLoss

from xmodal.batch import Embeddings
from xmodal.objectives import MoCo
from xmodal.objectives.online.queue import Queue

N, D, K = 7, 6, 12


def embeddings(q, k, ids=None):
    ids = torch.arange(N) if ids is None else ids
    return Embeddings.of(image=[q, k], target={"image": [q.detach(), k]}, ids=ids)


def test_equals_lightly_with_a_memory_bank_in_value_and_gradient():
    objective = MoCo(queue=K, temperature=0.2)
    held = unit(K, D, 9).float()
    objective.prepare([("image",)], {"image": D})
    objective.queues["image_1"].push(held, torch.arange(1000, 1000 + K)[:, None])
    theirs = NTXentLoss(temperature=0.2, memory_bank_size=(K, D))
    theirs.memory_bank.bank = held.T.contiguous() if theirs.memory_bank.bank.shape[0] == D else held.clone()
    x, k = unit(N, D, 1).float().requires_grad_(), unit(N, D, 2).float()
    q = torch.nn.functional.normalize(2 * x, dim=1)  # lightly normalises what it is given
    got, want = objective(embeddings(q, k), "image"), theirs(q, k)
    torch.testing.assert_close(got.value, want, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        torch.autograd.grad(got.value, x, retain_graph=True), torch.autograd.grad(want, x), rtol=1e-4, atol=1e-5
    )
    assert float(got.parts["queue"]) == K


def test_two_sides_take_the_second_sides_target_and_leave_equal_items_out():
    objective = MoCo(queue=K, temperature=0.5).double()
    q, k, held = unit(N, D, 1, True), unit(N, D, 2), unit(5, D, 3)
    objective.prepare([("speech", "text")], {"speech": D, "text": D})
    # ids of the speech and of the text; an anchor's own speech, or text, is no negative of it
    ids = torch.tensor([[100, 100], [101, 2], [3, 101], [102, 2], [4, 4]])
    objective.queues["text_0"].double().push(held, ids)
    e = Embeddings.of(speech=q, text=k, target={"text": k})
    got = objective(e, "speech", "text")
    total = 0.0
    for i in range(N):
        negatives = [held[j] for j in range(5) if i not in ids[j].tolist()]
        logits = torch.stack([q[i] @ k[i], *(q[i] @ n for n in negatives)]) / 0.5
        total = total + logits.logsumexp(0) - logits[0]
    torch.testing.assert_close(got.value, total / N, rtol=1e-6, atol=1e-6)
    assert torch.autograd.grad(got.value, q)[0].abs().sum() > 0


def test_an_empty_queue_takes_the_other_keys_of_the_batch():
    z = unit(1, D, 1).expand(N, D).contiguous()
    value = MoCo(queue=K).double()(embeddings(z, z), "image").value
    assert float(value) == pytest.approx(math.log(N), rel=1e-6)


def test_symmetric_has_a_queue_for_each_direction():
    objective = MoCo(queue=K, symmetric=True).double()
    e = embeddings(unit(N, D, 1), unit(N, D, 2))
    first = objective(e, "image")
    objective.after_step(e)
    assert {name: len(queue) for name, queue in objective.queues.items()} == {"image_0": N, "image_1": N}
    one_way = [MoCo(queue=K).double()(embeddings(*order), "image").value
               for order in ((unit(N, D, 1), unit(N, D, 2)), (unit(N, D, 2), unit(N, D, 1)))]  # fmt: skip
    torch.testing.assert_close(first.value, sum(one_way) / 2)


@pytest.mark.parametrize("sizes", [[3, 3, 3, 3, 3], [5, 1, 12, 2], [30, 4], [12, 12], [1] * 40])
def test_the_queue_holds_the_newest_rows_in_order(sizes):
    queue, rows, ids = Queue(K, D), [], []
    for number, size in enumerate(sizes):
        new = unit(size, D, number).float()
        queue.push(new, (torch.arange(size) + 100 * number)[:, None])
        rows, ids = [*rows, *new], [*ids, *(torch.arange(size) + 100 * number).tolist()]
        assert queue.ids()[:, 0].tolist() == ids[-K:]
        torch.testing.assert_close(queue.rows(), torch.stack(rows[-K:]))
    again = Queue(K, D)
    again.load_state_dict(queue.state_dict())
    torch.testing.assert_close(again.rows(), queue.rows())


def test_what_it_needs():
    assert [need[:3] for need in MoCo.Spec().needs("image")] == [("views", "image", 2), ("target", "image", 1)]
    assert [need.side for need in MoCo.Spec(symmetric=True).needs("speech", "text")] == ["speech", "text"]
