"""The only training loop. Enters: a `RunConfig`. Leaves: a complete run folder (see `checkpoint.py`) and its report.

What makes a run exact: batches, augmentation and learning rate are pure functions of (seed, step), so resuming needs
nothing but weights, optimizer moments and the dropout generators; a batch is defined over all processes, so one
process and eight compute the same gradient.

The file is long because a run is one thing: everything that happens between a config and a report is here, in order.
"""

import gc
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import InitProcessGroupKwargs, gather_object
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from xmodal.aligner.aligner import build_aligner
from xmodal.batch import Loss, PairBatch
from xmodal.config.schema import RunConfig
from xmodal.data.dataset import PairDataset
from xmodal.data.sampler import BucketSampler
from xmodal.data.stream import StreamedPairs
from xmodal.distributed import all_gather_rows, main_first
from xmodal.encoding.loading import LABELS, during_training
from xmodal.encoding.store_build import build_store
from xmodal.errors import UserError
from xmodal.evaluation.evaluator import build_evaluators
from xmodal.evaluation.runs.run_report import run_report
from xmodal.files import write_json
from xmodal.report.report import Record, Report, read_report
from xmodal.runs.checkpoint import (
    State,
    kept_weights,
    load_checkpoint,
    load_trained_state,
    newest_checkpoint,
    open_run,
    save_checkpoint,
    save_tensors,
    trained_state,
)
from xmodal.runs.metrics_file import read_lines, truncate_metrics
from xmodal.towers import save_tower
from xmodal.towers.from_store import StoreTower
from xmodal.training.optim import build_optimizer, learning_rate, set_learning_rate
from xmodal.training.threads import choose_threads
from xmodal.training.tracking import start_trackers

WHOLE = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)  # one process, or DDP
PRECISION = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


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
        if config.train.precision == "fp16" and not torch.cuda.is_available():
            raise UserError("train.precision: fp16 needs a GPU; use fp32 or bf16 here")
        # torchrun on CPUs: unless told, Accelerate takes every process for the only one
        alone = "LOCAL_RANK" in os.environ and not torch.cuda.is_available()
        patience = InitProcessGroupKwargs(timeout=timedelta(hours=2))  # the others wait while the main one evaluates
        self.accelerator = Accelerator(
            mixed_precision=PRECISION[config.train.precision], cpu=alone, kwargs_handlers=[patience]
        )
        require_whole_parameters(self.accelerator.distributed_type)
        self.main = self.accelerator.is_main_process
        device = self.accelerator.device
        main_first(lambda: prepare() if self.main else None, device)
        self.evaluators = main_first(lambda: build_evaluators(config) if self.main else {}, device)
        checkpoint = main_first(self._open, device)
        torch.manual_seed(config.seed)
        self.aligner, self.processors = build_aligner(config)
        self.dataset, self.sampler = self._read_data()
        self.optimizer = build_optimizer(self.aligner, config.optim)
        self.model, self.prepared = self.accelerator.prepare(self.aligner, self.optimizer)
        self.state = State(step=0)
        self.undecodable: dict[str, str] = {}  # items that failed after the header scan, with the reason
        began_with = None if isinstance(self.dataset, StreamedPairs) else self.dataset.digest
        generator = None
        if checkpoint is not None:
            self.state, generator = load_checkpoint(
                checkpoint, self.aligner, self.optimizer, self.accelerator.process_index
            )
            if None not in (self.state.data, began_with) and self.state.data != began_with:
                raise UserError(
                    f"data.train: {config.data.train} has changed since {config.output} began with it; put the data "
                    "back, or start a new run with output=..."
                )
            if self.accelerator.scaler is not None and self.state.scaler is not None:
                self.accelerator.scaler.load_state_dict(self.state.scaler)
        self.state.data = began_with
        if self.main:
            self._write_once()
        # last, since building towers draws numbers; dropout differs between processes
        torch.manual_seed(config.seed + 1 + self.accelerator.process_index + 1_000_003 * self.state.step)
        if generator is not None:
            torch.set_rng_state(generator)

    # ------------------------------------------------------------------------------------------------- preparation

    def _open(self) -> Path | None:
        """Run folder and stores; the main process goes first, the others find both made."""
        config = self.config
        if not str(config.data.train).startswith("hub:") and not config.data.train.exists():
            hint = f"; make it with `{config.data.made_by}`" if config.data.made_by else ""
            raise UserError(f"data.train: {config.data.train} does not exist{hint}")
        checkpoint = open_run(config) if self.main else newest_checkpoint(config.output)
        for modality, spec in config.towers.items():
            if isinstance(spec, StoreTower.Spec):
                build_store(spec, config, modality)
        return checkpoint

    def _read_data(self) -> tuple[PairDataset | StreamedPairs, BucketSampler | None]:
        """The pairs, and what orders them; a stream has its own order."""
        config = self.config
        modalities = {name: config.modality(name) for name in config.towers}
        place = {"rank": self.accelerator.process_index, "world": self.accelerator.num_processes}
        size = config.train.batch_size
        if config.data.streaming:
            return StreamedPairs(config.data, modalities, self.processors, config.seed, size, **place), None
        dataset = PairDataset(config.data, modalities, self.processors, config.seed)
        return dataset, BucketSampler(dataset.lengths, size, config.seed, config.data.buckets, **place)

    def _write_once(self) -> None:
        """What does not change during training: saved towers, the list of unreadable items."""
        folder = self.config.output
        for modality, spec in self.config.towers.items():
            target = folder / "towers" / modality
            if target.exists():
                continue
            partial = folder / "towers.tmp" / modality  # the folder's name stands for the modality
            partial.mkdir(parents=True, exist_ok=True)
            save_tower(spec, self.aligner.tower(modality), self.processors[modality], partial)
            target.parent.mkdir(exist_ok=True)
            partial.replace(target)
        shutil.rmtree(folder / "towers.tmp", ignore_errors=True)
        listed = {str(row.get("id")): str(row.get("reason")) for row in read_lines(folder / "skipped.jsonl")}
        self._list_skipped([(name, reason) for name, reason in self.dataset.skipped if name not in listed])
        at_start = dict(self.dataset.skipped)  # a resumed run has listed the others before
        self.undecodable = {name: reason for name, reason in listed.items() if name not in at_start}
        labels = [] if isinstance(self.dataset, StreamedPairs) else self.dataset.label_names
        if labels and not (folder / LABELS).is_file():
            write_json(folder / LABELS, labels)
        self.encoder = during_training(self.config, self.aligner, self.processors, self.dataset.named, labels)

    def _list_skipped(self, skipped: list[tuple[str, str]]) -> None:
        if not skipped:
            return
        with (self.config.output / "skipped.jsonl").open("a", encoding="utf-8") as file:
            for name, reason in skipped:
                file.write(json.dumps({"id": name, "reason": reason}) + "\n")

    def _batches(self, start: int) -> Iterator[PairBatch]:
        own = torch.Generator()  # drawing from the global one would tell resumed runs from whole ones
        workers = self.config.data.workers
        if isinstance(self.dataset, StreamedPairs):  # one worker reads ahead; more would each read the whole stream
            stream = self.dataset.iterate_from(start)
            loader = DataLoader(stream, batch_size=None, num_workers=min(1, workers), generator=own)
        else:
            assert self.sampler is not None
            sampler = self.sampler.iterate_from(start)
            loader = DataLoader(self.dataset, sampler=sampler, batch_size=None, num_workers=workers, generator=own)
        batches = iter(loader)
        while True:
            try:
                batch = next(batches)
            except UserError as error:  # from a worker it comes wrapped in that worker's traceback
                raise UserError(str(error).strip().splitlines()[-1].removeprefix("xmodal.errors.UserError: ")) from None
            yield batch.to(self.accelerator.device)

    def _choose_threads(self) -> None:
        """The config's number of CPU threads, the resumed run's, or the fastest; timing leaves no trace in the run."""
        wanted = self.config.train.threads
        if self.accelerator.device.type != "cpu":
            return
        generator = torch.get_rng_state()
        buffers = {name: value.clone() for name, value in self.aligner.named_buffers()}
        batch: PairBatch | None = None

        def work() -> None:
            nonlocal batch
            batch = batch or next(self._batches(self.state.step))
            self.accelerator.backward(self.model(batch).value)
            self.prepared.zero_grad()

        self.model.train()
        known = wanted if isinstance(wanted, int) else self.state.threads
        self.state.threads = choose_threads(known, self.accelerator.num_processes, work)
        for name, value in self.aligner.named_buffers():
            value.copy_(buffers[name])
        torch.set_rng_state(generator)

    # ---------------------------------------------------------------------------------------------------- training

    def fit(self) -> Report | None:
        """Train to `train.steps`, evaluate, keep the best weights, write the report (returned on the main process)."""
        try:
            return self._train()
        finally:
            self._leave()

    def _train(self) -> Report | None:
        spec = self.config.train
        if self.state.step >= spec.steps and self._finished():
            self.accelerator.print(f"{self.config.output}: already trained for {self.state.step} steps")
            return read_report(self.config.output / "report") if self.main else None
        self._choose_threads()
        if self.main:
            (self.config.output / "training.json").unlink(missing_ok=True)  # what says that training has ended
            truncate_metrics(self.config.output, self.state.step, evaluated=not self._evaluation_is_missing())
        start_trackers(self.accelerator, self.config)
        self.model.train()
        if self._evaluation_is_missing():  # the run was killed after this step was saved, and before it was judged
            self._save_and_evaluate(self.state.step == spec.steps)
        recent: list[dict[str, Tensor]] = []
        began, start = time.perf_counter(), self.state.step
        bar = tqdm(total=spec.steps, initial=start, unit="step", disable=not self.main, dynamic_ncols=True)
        with bar:  # closed before an error is printed
            for step, batch in zip(range(start, spec.steps), self._batches(start), strict=False):
                loss, norm = self._step(step, batch)
                recent.append({**loss.parts, "gradient_norm": norm})
                self.state.step = step + 1
                bar.update()
                last = self.state.step == spec.steps
                if self.state.step % spec.log_every == 0 or last:
                    values = self._log(recent, (self.state.step - start) / (time.perf_counter() - began))
                    bar.set_postfix_str(f"loss {values['loss']:.3f}, {values['items_per_second']:.0f} items/s")
                    recent.clear()
                self._save_and_evaluate(last)
        return self._finish()

    def _leave(self) -> None:
        """End trackers and process group, DDP first.

        DDP's reducer, when it is the last to hold a gloo group, joins the group's threads while it holds the GIL that
        they wait for: the process would never end.
        """
        self.model = self.aligner
        self.accelerator.free_memory()
        gc.collect()
        self.accelerator.end_training()

    def _log(self, recent: list[dict[str, Tensor]], steps_per_second: float) -> dict[str, float]:
        """Log the means of what the last steps gave."""
        values = {k: float(torch.stack([r[k].float() for r in recent]).mean()) for k in recent[0]}
        values["lr"] = learning_rate(self.state.step - 1, self.config.train.steps, self.config.optim)
        values["items_per_second"] = steps_per_second * self.config.train.batch_size
        self.accelerator.log({f"train/{k}": v for k, v in values.items()}, step=self.state.step)
        return values

    def _step(self, step: int, batch: PairBatch) -> tuple[Loss, Tensor]:
        """One update.

        Raises:
            UserError: loss or gradient is not finite; nothing of this step is saved.
        """
        self._note_skipped(batch)
        optim = self.config.optim
        set_learning_rate(self.optimizer, learning_rate(step, self.config.train.steps, optim))
        loss: Loss = self.model(batch)
        self._require_finite(step, batch, loss.value.detach(), "loss")
        self.accelerator.backward(loss.value)
        parameters = [p for p in self.aligner.parameters() if p.requires_grad]
        norm = self.accelerator.clip_grad_norm_(parameters, optim.clip or math.inf)
        if self.config.train.precision != "fp16":  # there the scaler skips steps whose gradients overflow
            self._require_finite(step, batch, norm, "gradient")
        self.prepared.step()
        self.prepared.zero_grad()
        return loss, norm.detach()

    def _note_skipped(self, batch: PairBatch) -> None:
        """List what could not be decoded, of all processes, on all of them: they must stop together."""
        new = [(name, reason) for name, reason in batch.skipped if name not in self.undecodable]
        count = torch.tensor([len(new)], device=self.accelerator.device)
        if int(all_gather_rows(count, [1] * self.accelerator.num_processes).sum()) == 0:
            return
        new = [pair for pair in gather_object(new) if pair[0] not in self.undecodable]
        self.undecodable.update(new)
        if self.main:
            self._list_skipped(new)
        read = (self.state.step + 1) * self.config.train.batch_size
        self.dataset.require_usable(list(self.undecodable.items()), read)

    def _require_finite(self, step: int, batch: PairBatch, value: Tensor, what: str) -> None:
        flag = torch.tensor([float(not math.isfinite(float(value)))], device=value.device)
        if float(all_gather_rows(flag, [1] * self.accelerator.num_processes).sum()) == 0:
            return
        shown = ", ".join(batch.names[:8]) + (f" and {len(batch.names) - 8} more" if len(batch.names) > 8 else "")
        newest = newest_checkpoint(self.config.output)
        kept = f"the last checkpoint is {newest}" if newest else "there is no checkpoint yet"
        raise UserError(
            f"step {step + 1}: {what} is not finite; the batch held {shown}; {kept}; "
            "lower optim.lr, set optim.clip, or use fp32"
        )

    # ------------------------------------------------------------------------------------------ evaluation, saving

    def _save_and_evaluate(self, last: bool) -> None:
        """What is due at this step. Saving comes first: an evaluation may fail, and must not cost the steps done."""
        spec, step = self.config.train, self.state.step
        due = bool(spec.eval_every and step % spec.eval_every == 0)
        if last or (spec.save_every and step % spec.save_every == 0):
            self._require_finite_weights()
            self._save()
        if spec.best is not None:
            if due or last:
                self._evaluate()
                self._save()  # which weights are best is part of the state
        elif last:  # the last weights are the ones kept, and the report evaluates them
            if self.main:
                save_tensors(trained_state(self.aligner), self.config.output / "model.safetensors")
        elif due:
            self._evaluate()

    def _evaluation_is_missing(self) -> bool:
        """Is an evaluation due at the step where a resumed run stands, of which its checkpoint knows nothing?"""
        spec, step = self.config.train, self.state.step
        due = bool(spec.eval_every and step % spec.eval_every == 0) or (step == spec.steps and spec.best is not None)
        return step > 0 and due and self.state.evaluated != step

    def _evaluate(self) -> None:
        """Run the evaluators on the main process, log their numbers, keep the best weights."""
        self.state.evaluated = self.state.step
        if self.main:
            self.model.eval()
            reports = [e.evaluate(self.encoder, name, brief=True) for name, e in self.evaluators.items()]
            values = self._log_evaluation([record for report in reports for record in report.records])
            if self.config.train.best is not None:
                self._keep(self.config.train.best, values)
            self.model.train()
        self.accelerator.wait_for_everyone()

    def _log_evaluation(self, records: Sequence[Record]) -> dict[str, float]:
        values = {r.name: r.value for r in records if r.value is not None}
        if values:
            self.accelerator.log({f"eval/{k}": v for k, v in values.items()}, step=self.state.step)
        return values

    def _keep(self, best: str, values: dict[str, float]) -> None:
        """Write the weights where `best` is better than ever."""
        if best not in values:
            raise UserError(f"train.best: no metric {best!r}; found {', '.join(sorted(values))}")
        if self.state.best is None or values[best] > self.state.best:
            self.state.best, self.state.best_step = values[best], self.state.step
            save_tensors(trained_state(self.aligner), self.config.output / "model.safetensors")

    def _require_finite_weights(self) -> None:
        """Never replace a good checkpoint by one that training cannot go on from."""
        for name, parameter in self.aligner.named_parameters():
            if parameter.requires_grad and not bool(torch.isfinite(parameter.detach().square().sum())):
                newest = newest_checkpoint(self.config.output)
                raise UserError(
                    f"step {self.state.step}: {name} has diverged; the last checkpoint is {newest or 'not there yet'}; "
                    "lower optim.lr or set optim.clip"
                )

    def _save(self) -> None:
        if self.accelerator.scaler is not None:
            self.state.scaler = self.accelerator.scaler.state_dict()
        mine = torch.get_rng_state()[None]
        generators = all_gather_rows(mine.to(self.accelerator.device), [1] * self.accelerator.num_processes).cpu()
        if self.main:
            save_checkpoint(
                self.config.output, self.aligner, self.optimizer, self.state, [g.contiguous() for g in generators]
            )
        self.accelerator.wait_for_everyone()

    def _finished(self) -> bool:
        return not self.config.evaluators or (self.config.output / "report" / "report.json").exists()

    def _finish(self) -> Report | None:
        """Evaluate the kept weights with pictures and write the report."""
        if not self.main:
            self.accelerator.wait_for_everyone()
            return None
        folder = self.config.output
        load_trained_state(self.aligner, kept_weights(folder), str(folder))
        self.model.eval()
        facts = self._facts()
        write_json(folder / "training.json", facts)
        # with train.best these numbers belong to an earlier step, where they were logged
        log = {} if self.config.train.best is not None else {"log": self._log_evaluation}
        report = run_report(folder, self.encoder, self.evaluators, facts, **log)
        report.write(folder / "report")
        self.accelerator.wait_for_everyone()
        return report

    def _facts(self) -> dict[str, Any]:
        """What happened in training, for the provenance of every later report."""
        kept = self.state.best_step if self.state.best_step is not None else self.state.step
        return {
            "finished": True,
            "weights_from_step": kept,
            "processes": self.accelerator.num_processes,
            "device": str(self.accelerator.device),
            "threads": self.state.threads,
            "skipped_items": len(self.dataset.skipped) + len(self.undecodable),
        }


def require_whole_parameters(kind: DistributedType) -> None:
    """Raise `UserError` where parameters are sharded over processes: checkpoints and locked towers need them whole."""
    if kind not in WHOLE:
        raise UserError(
            f"accelerate: found distributed type {kind.value}, expected one process or DDP; the large tower is locked "
            "and has no optimizer state, so there is little to shard: run `accelerate config` without FSDP, DeepSpeed, "
            "Megatron or TPU, and use train.chunk or towers read from a store where memory is short"
        )
