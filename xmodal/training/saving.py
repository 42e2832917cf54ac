"""Checkpoints while a run trains: only of finite weights, and what to go on from where they are not."""

from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch.optim import Optimizer

from xmodal.aligner.aligner import Aligner
from xmodal.distributed import all_gather_rows
from xmodal.errors import UserError
from xmodal.runs.checkpoint import State, save_checkpoint
from xmodal.runs.folder import newest_checkpoint


@dataclass(frozen=True)
class Saving:
    """Saves a run into its folder; every process calls it, the main one writes."""

    output: Path
    accelerator: Accelerator
    aligner: Aligner
    optimizer: Optimizer

    def save(self, state: State) -> None:
        """Write a checkpoint of weights, optimizer, state and every process's generator."""
        if self.accelerator.scaler is not None:
            state.scaler = self.accelerator.scaler.state_dict()
        mine = torch.get_rng_state()[None]
        generators = all_gather_rows(mine.to(self.accelerator.device), [1] * self.accelerator.num_processes).cpu()
        if self.accelerator.is_main_process:
            save_checkpoint(self.output, self.aligner, self.optimizer, state, [g.contiguous() for g in generators])
        self.accelerator.wait_for_everyone()

    def require_finite_weights(self, state: State) -> None:
        """Never replace a good checkpoint by one that training cannot go on from."""
        for name, parameter in self.aligner.named_parameters():
            if parameter.requires_grad and not bool(torch.isfinite(parameter.detach().square().sum())):
                raise UserError(f"step {state.step}: {name} has diverged; {self.last_checkpoint()}")

    def last_checkpoint(self) -> str:
        """What is left to go on from, and how."""
        newest = newest_checkpoint(self.output)
        softer = "with a lower optim.lr, with optim.clip, or in fp32"
        if newest is None:
            return f"there is no checkpoint yet; start again {softer}"
        return f"the last checkpoint is {newest}; go on from it {softer}, and train.resume=changed"
