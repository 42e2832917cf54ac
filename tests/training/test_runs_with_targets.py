"""Slow copies of a tower in whole runs, against copies made by hand over a kill; queues that do not fit the data."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from xmodal.config.load import load_config
from xmodal.errors import UserError
from xmodal.training.trainer import Trainer

TERMS = "objective={align: {kind: cwcl}, slow: {kind: moco, on: [speech], queue: 16, weight: 0.2}}"
VIEWS = ["data.modalities.speech.training_views=2", "evaluators={}", "train.trackers=[]"]


class KillError(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("settings", ["momentum: 0.9", "every: 3"])
def test_a_target_is_a_copy_made_by_hand_also_over_a_kill(settings: str, tiny_config: Path, tmp_path: Path) -> None:
    common = [TERMS, *VIEWS, f"targets={{speech: {{{settings}}}}}", "train.steps=8", "train.save_every=4"]
    by_hand: dict[int, dict[str, torch.Tensor]] = {}  # after so many steps

    def run(die_at: int, *more: str) -> None:
        trainer = Trainer(load_config(tiny_config, [*common, *more]))
        tower, make_step = trainer.aligner.tower("speech"), trainer.stepper.step
        by_hand.setdefault(0, {name: value.detach().clone() for name, value in tower.named_parameters()})

        def step(batch):  # type: ignore[no-untyped-def]
            at = batch.clock.step
            if at == die_at:
                raise KillError
            parts = make_step(batch)
            share = float((at + 1) % 3 == 0) if settings == "every: 3" else 0.1
            past = by_hand[at]
            by_hand[at + 1] = {
                name: (1 - share) * past[name] + share * value.detach() for name, value in tower.named_parameters()
            }
            return parts

        trainer.stepper.step = step  # type: ignore[method-assign]
        trainer.fit()

    with pytest.raises(KillError):
        run(6)
    run(99, "train.resume=true")  # from step 4
    [checkpoint] = (tmp_path / "run" / "checkpoints").iterdir()
    found = load_file(checkpoint / "model.safetensors")
    assert not torch.equal(by_hand[8]["head.weight"], found["towers.speech.head.weight"])
    for name, value in by_hand[8].items():
        torch.testing.assert_close(found[f"targets.speech.copied.{name}"], value, rtol=1e-6, atol=1e-7)


def test_a_queue_larger_than_the_data_is_noted_and_one_smaller_than_a_batch_refused(
    tiny_config: Path, tmp_path: Path
) -> None:
    common = ["objective={kind: moco, queue: 4096}", *VIEWS]
    notes = Trainer(load_config(tiny_config, [*common, "train.batch_size=10"])).dataset.tally.notes
    [note] = [note for note in notes if note.startswith("objective.queue: 4,096 places and ")]
    assert "more than once" in note
    seconds = ["train.batch_size=null", "train.batch_seconds=1.8", "objective.queue=2", f"output={tmp_path / 'other'}"]
    with pytest.raises(UserError, match=r"objective\.queue: 2 places, and a batch has up to \d+ pairs.* at least \d+"):
        Trainer(load_config(tiny_config, [*common, *seconds]))
