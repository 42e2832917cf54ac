"""The only training loop. Input: a `RunConfig`. Output: a complete run folder (see `runs/folder.py`) and its report.

What makes a run exact: batches, augmentation, learning rate and schedules are pure functions of (seed, step), so
resuming needs nothing but weights, optimizer moments and the dropout generators; a batch is defined over all processes,
so one process and eight compute the same gradient.
"""

import gc
import math
from collections.abc import Callable
from functools import partial

import torch
from accelerate.utils import gather_object
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from xmodal.aligner.build import build_aligner
from xmodal.batch import PairBatch
from xmodal.config.schema import RunConfig
from xmodal.data.stream import StreamedPairs
from xmodal.distributed import all_gather_rows, main_first
from xmodal.errors import UserError
from xmodal.evaluation.evaluator import build_evaluators
from xmodal.progress import progress_bar, say
from xmodal.report.report import Report, read_report
from xmodal.runs.checkpoint import State, load_checkpoint
from xmodal.runs.folder import write_config
from xmodal.runs.lock import release
from xmodal.runs.metrics_file import truncate_metrics
from xmodal.threads import choose_threads
from xmodal.training.accelerator import accelerator_for
from xmodal.training.batches import batches_from
from xmodal.training.clusters import clusters_of
from xmodal.training.effort import Effort
from xmodal.training.judging import Judge
from xmodal.training.kernel_choice.choosing import choose_kernel, with_choice
from xmodal.training.opening import open_everything, read_pairs_of, require_whole_parameters
from xmodal.training.optim import build_optimizer, learning_rate
from xmodal.training.records import Skipped, facts_of, means_of, write_changes, write_labels, write_towers
from xmodal.training.saving import Saving
from xmodal.training.steps import Stepper
from xmodal.training.tracking import require_trackers, start_trackers


class Trainer:
    """Build everything a config names, then `fit()`.

    Args:
        config: the run.
        prepare: makes the data where they are not there; called once, on the main process, before they are read.

    Raises:
        UserError: anything in the config or the data that cannot work, before training starts where possible.
    """

    def __init__(self, config: RunConfig, prepare: Callable[[], None] = lambda: None) -> None:
        self.config = config
        self.accelerator = accelerator_for(config.train.precision)
        require_whole_parameters(self.accelerator.distributed_type)
        require_trackers(config.train.trackers)
        self.main, device = self.accelerator.is_main_process, self.accelerator.device
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        main_first(lambda: prepare() if self.main else None, device)
        evaluators = main_first(lambda: build_evaluators(config) if self.main else {}, device)
        config = self.config = main_first(partial(with_choice, config, world), device)
        self.opened = open_everything(config, device)
        config = self.config = choose_kernel(config, evaluators, lambda short: Trainer(short).fit(), say)
        torch.manual_seed(config.seed)
        self.aligner, self.processors = build_aligner(config)
        self.dataset, self.sampler = read_pairs_of(config, self.processors, rank, world, device)
        self.clusters = clusters_of(config, self.dataset, self.sampler, self.aligner, device)
        self.optimizer = build_optimizer(self.aligner, config.optim)
        # what every process has alike is not sent at every step: targets, and the terms' queues
        alike = [name for name, _ in self.aligner.named_buffers() if name.startswith(("targets.", "terms."))]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self.aligner, alike)  # type: ignore[no-untyped-call]
        self.model, prepared = self.accelerator.prepare(self.aligner, self.optimizer)
        self.state, generator = self._go_on()
        modules = self.aligner, self.model, self.optimizer, prepared
        self.saving = Saving(config.output, self.accelerator, self.aligner, self.optimizer)
        self.stepper = Stepper(config, self.accelerator, *modules, self.saving.last_checkpoint, self.state.step)
        self.skipped = Skipped(config.output, self.dataset, self.main)
        self.skipped.begin()
        if self.main:
            labels = [] if isinstance(self.dataset, StreamedPairs) else self.dataset.label_names
            write_towers(config, self.aligner, self.processors)
            if self.opened.write_config:
                write_config(config)
            write_changes(config.output, self.state.step, self.opened.changed)
            write_labels(config.output, labels)
            named = self.dataset.named
            self.judge = Judge(config, self.aligner, self.processors, evaluators, named, labels, self._log_evaluation)
        # last, since building towers draws numbers; dropout differs between processes
        torch.manual_seed(config.seed + 1 + rank + 1_000_003 * self.state.step)
        if generator is not None:
            torch.set_rng_state(generator)

    def _go_on(self) -> tuple[State, Tensor | None]:
        """Where the run stands, and this process's generator; from the checkpoint where there is one."""
        config, checkpoint = self.config, self.opened.checkpoint
        began_with = None if isinstance(self.dataset, StreamedPairs) else self.dataset.digest
        state, generator = State(step=0), None
        if checkpoint is not None:
            state, generator = load_checkpoint(checkpoint, self.aligner, self.optimizer, self.accelerator.process_index)
            if None not in (state.data, began_with) and state.data != began_with:
                raise UserError(
                    f"data.train: {config.data.train} has changed since {config.output} began with it; put the data "
                    "back, or start a new run with output=..."
                )
            if config.train.steps < state.step:
                raise UserError(
                    f"train.steps: {config.train.steps}, but {config.output} has done {state.step}; give at least that"
                )
            if self.accelerator.scaler is not None and state.scaler is not None:
                self.accelerator.scaler.load_state_dict(state.scaler)
            if any(line.startswith(("train.best:", "evaluators.")) for line in self.opened.changed):
                state.best = state.best_step = None  # the weights kept were the best by another metric, or test
        state.data = began_with
        return state, generator

    def fit(self) -> Report | None:
        """Train to `train.steps`, evaluate, keep the best weights, write the report (returned on the main process)."""
        try:
            return self._train()
        finally:
            self._leave()

    def _train(self) -> Report | None:
        spec = self.config.train
        if self.state.step >= spec.steps and (self.config.output / "report" / "report.json").exists():
            self.accelerator.print(f"{self.config.output}: already trained for {self.state.step} steps")
            return read_report(self.config.output / "report") if self.main else None
        if self.accelerator.device.type == "cpu":
            wanted = spec.threads if isinstance(spec.threads, int) else self.state.threads
            self.state.threads = choose_threads(wanted, self.accelerator.num_processes)
        if self.clusters is not None:
            self.clusters.open(self.state.step)
        if self.main:
            (self.config.output / "training.json").unlink(missing_ok=True)  # what says that training has ended
            truncate_metrics(self.config.output, self.state.step, evaluated=not self._evaluation_is_missing())
            self.skipped.say(say)
            if self.state.step:
                say(f"{self.config.output}: going on from step {self.state.step}")
        start_trackers(self.accelerator, self.config)
        self.model.train()
        if self._evaluation_is_missing():  # the run was killed after this step was saved, and before it was judged
            self._save_and_evaluate(self.state.step == spec.steps)
        recent: list[dict[str, Tensor]] = []
        began, start, effort = self.state.seconds, self.state.step, Effort(self.state)
        bar = progress_bar(total=spec.steps, initial=start, unit="step", disable=not self.main, dynamic_ncols=True)
        with bar:  # closed before an error is printed
            for batch in batches_from(start, self.config, self.dataset, self.sampler, self.accelerator.device):
                self._note_skipped(batch)
                if self.clusters is not None:
                    batch = self.clusters.label(batch)
                recent.append(self.stepper.step(batch))
                self.state.step = batch.clock.step + 1
                if not recent[-1] and self.main:
                    say(f"step {self.state.step}: none of the batch's items can be read; no update is made")
                effort.stop()
                bar.update()
                last = self.state.step == spec.steps
                if self.state.step % spec.log_every == 0 or last:
                    values = self._log(recent, self._pairs(start, self.state.step) / (self.state.seconds - began))
                    bar.set_postfix_str(
                        f"loss {values.get('loss', math.nan):.3f}, {values['items_per_second']:.0f} items/s"
                    )
                    recent.clear()
                self._save_and_evaluate(last)
                effort.start()
        return self._finish()

    def _leave(self) -> None:
        """End trackers and process group, DDP first.

        DDP's reducer, when it is the last to hold a gloo group, joins the group's threads while it holds the GIL that
        they wait for: the process would never end.
        """
        self.model = self.stepper.model = self.aligner
        self.accelerator.free_memory()
        gc.collect()
        release(self.config.output)
        self.accelerator.end_training()

    def _pairs(self, first: int, last: int) -> int:
        """How many pairs the batches of some steps hold, over all processes."""
        if self.sampler is not None:
            return self.sampler.pairs(first, last)
        assert self.config.train.batch_size is not None  # of a stream
        return (last - first) * self.config.train.batch_size

    def _log(self, recent: list[dict[str, Tensor]], pairs_per_second: float) -> dict[str, float]:
        """Log the means of what the last steps gave, the rate and the speed."""
        values = means_of(recent)
        values["lr"] = learning_rate(self.state.step - 1, self.config.train.steps, self.config.optim)
        values |= {"items_per_second": pairs_per_second, "seconds": self.state.seconds}
        self.accelerator.log({f"train/{k}": v for k, v in values.items()}, step=self.state.step)
        return values

    def _log_evaluation(self, values: dict[str, float]) -> None:
        logged = {f"eval/{k}": v for k, v in values.items()} | {"train/seconds": self.state.seconds}
        self.accelerator.log(logged, step=self.state.step)

    def _note_skipped(self, batch: PairBatch) -> None:
        """List what could not be decoded, of all processes, on all of them: they must stop together."""
        new = self.skipped.new(batch.skipped)
        count = torch.tensor([len(new)], device=self.accelerator.device)
        if int(all_gather_rows(count, [1] * self.accelerator.num_processes).sum()) == 0:
            return
        self.skipped.add(gather_object(new), self._pairs(0, self.state.step + 1))

    def _save_and_evaluate(self, last: bool) -> None:
        """What is due at this step. Saving comes first: an evaluation may fail, and must not cost the steps done."""
        spec, step = self.config.train, self.state.step
        due = bool(spec.eval_every and step % spec.eval_every == 0)
        if last or (spec.save_every and step % spec.save_every == 0):
            self.saving.require_finite_weights(self.state)
            self.saving.save(self.state)
        if spec.best is not None:
            if due or last:
                self._evaluate()
                self.saving.save(self.state)  # which weights are best is part of the state
        elif last:  # the last weights are the ones kept, and the report evaluates them
            if self.main:
                self.judge.keep()
        elif due:
            self._evaluate()

    def _evaluation_is_missing(self) -> bool:
        """Is an evaluation due at the step where a resumed run stands, of which its checkpoint knows nothing?"""
        spec, step = self.config.train, self.state.step
        due = bool(spec.eval_every and step % spec.eval_every == 0) or (step == spec.steps and spec.best is not None)
        return step > 0 and due and self.state.evaluated != step

    def _evaluate(self) -> None:
        self.state.evaluated = self.state.step
        if self.main:
            self.judge.evaluate(self.state)
        self.model.train()
        self.accelerator.wait_for_everyone()

    def _finish(self) -> Report | None:
        """Evaluate the kept weights with pictures and write the report."""
        if self.main and self.config.train.best is None:
            self.judge.keep()  # a kill may have come between the last checkpoint and this
        pairs = self._pairs(0, self.state.step)
        facts = facts_of(self.config, self.accelerator, self.state, self.skipped, pairs)
        report = self.judge.finish(facts) if self.main else None
        self.accelerator.wait_for_everyone()
        return report
