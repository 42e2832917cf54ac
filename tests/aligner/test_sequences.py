"""What objectives over sequences get of a tower: in chunks, of no rows, at rest; and what is wrong is one line."""

import numpy as np
import pytest
import torch

from xmodal.aligner.aligner import Aligner, Term
from xmodal.batch import Clock, Embeddings, PairBatch
from xmodal.errors import UserError
from xmodal.objectives import InfoNCE, LocalGlobal
from xmodal.towers.heads import Identity, Linear
from xmodal.towers.own.speech_encoder import LogMel, SpeechEncoder
from xmodal.towers.sequence_heads import Attention, Transformer
from xmodal.towers.tower import Tower

SMALL = {"hidden": 16, "layers": 1, "heads": 2, "feed_forward": 32, "stack": 3, "dropout": 0.2}


def aligner_of(chunk=None, terms=None, head=None, **tower):
    torch.manual_seed(0)
    encoder = SpeechEncoder(mels=8, width=16, layers=1, heads=2, feed_forward=32, dropout=0.0)
    speech = Tower(encoder, head or Transformer(16, dim=8, **{**SMALL, "dropout": 0.0}), **tower)
    text = Tower(torch.nn.Identity(), Identity(8), locked=True)
    text.backbone.width, text.backbone.forward = 8, lambda inputs: inputs["rows"]
    both = (("speech", "text"),)
    terms = terms or [Term("align", InfoNCE(), both), Term("local", LocalGlobal(), both)]
    return Aligner({"speech": speech, "text": text}, terms, chunk)


def batch_of(rows=7, step=0):
    processor, rng = LogMel(sample_rate=8000, mels=8, high=3900), np.random.default_rng(1)
    waves = [rng.standard_normal(3000 + 500 * n).astype(np.float32) for n in range(7)]
    text = torch.from_numpy(rng.standard_normal((7, 8)).astype(np.float32))
    inputs = {"speech": processor.collate([processor.features(wave) for wave in waves]), "text": {"rows": text}}
    ids = torch.arange(rows)
    inputs = {side: {name: value[:rows] for name, value in items.items()} for side, items in inputs.items()}
    return PairBatch(inputs, ids, {"speech": ids, "text": ids}, clock=Clock(step, 10))


@pytest.mark.parametrize("tower", [{}, {"locked": True}, {"unfreeze_after": 5}])
def test_chunks_change_neither_value_nor_gradient_and_ddp_misses_none(tower):
    found = []
    for chunk in (None, 3):
        aligner, batch = aligner_of(chunk, **tower).double(), batch_of()
        for rows in batch.inputs.values():
            rows |= {name: value.double() for name, value in rows.items() if value.is_floating_point()}
        loss = aligner(batch)
        loss.value.backward()
        trained = [(name, p) for name, p in aligner.named_parameters() if p.requires_grad]
        assert [name for name, p in trained if p.grad is None] == []
        found.append((loss.value, [p.grad for _, p in trained]))
    torch.testing.assert_close(*found, atol=1e-12, rtol=1e-9)


def test_the_steps_are_those_that_were_pooled():
    aligner = aligner_of(
        terms=[Term("local", LocalGlobal(), (("speech",),)), Term("a", InfoNCE(), (("speech", "text"),))]
    )
    tower, batch = aligner.tower("speech"), batch_of()
    e = aligner.embeddings(batch)
    steps = e.sequence("speech")
    frames = tower.sequence(batch.inputs["speech"])
    assert steps.lengths.tolist() == [-(-int(length) // 3) for length in frames.lengths]
    torch.testing.assert_close(tower.project(tower.head.pooled(steps)).z, e.z("speech"))
    aligner = aligner_of(head=Attention(16, dim=8, heads=2))
    frames = aligner.tower("speech").sequence(batch.inputs["speech"])
    torch.testing.assert_close(
        aligner.embeddings(batch).sequence("speech").each(),
        [aligner.tower("speech").head.norm(row) for row in frames.each()],
    )


def test_with_dropout_chunks_encode_again_with_the_same_draws():
    aligner = aligner_of(3, head=Transformer(16, dim=8, **SMALL))
    aligner(batch_of()).value.backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in aligner.parameters() if p.requires_grad)


def test_no_rows_have_a_gradient_of_zeros():
    aligner = aligner_of()
    steps = aligner.embeddings(batch_of(0)).sequence("speech")
    assert (list(steps.values.shape), steps.lengths.tolist()) == ([0, 1, 16], [])
    steps.values.sum().backward()
    gradients = [p.grad for p in aligner.tower("speech").parameters() if p.requires_grad]
    assert not any(gradient.any() for gradient in gradients)


class Asks(InfoNCE):
    """Of a sequence that its spec does not list."""

    def forward(self, embeddings, *sides):
        embeddings.sequence(sides[0])
        return super().forward(embeddings, *sides)


def test_what_is_missing_is_one_line():
    with pytest.raises(UserError, match=r'not made; list Need\("sequence", side\)'):
        aligner_of(terms=[Term("asks", Asks(), (("speech", "text"),))])(batch_of())
    with pytest.raises(
        UserError, match=r"towers.speech.head: .* set a head over sequences: head: \{kind: transformer\}"
    ):
        aligner_of(head=Linear(16, dim=8))
    with pytest.raises(UserError, match=r"no sequence of 'speech': give Embeddings.of\(sequence="):
        LocalGlobal()(Embeddings.of(speech=torch.eye(3)), "speech")
