"""Judging a run: evaluators during training, the best weights kept, and the report at the end (main process only)."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from xmodal.aligner.aligner import Aligner
from xmodal.config.schema import RunConfig
from xmodal.encoding.encoder import Encoder
from xmodal.encoding.loading import during_training
from xmodal.errors import UserError
from xmodal.evaluation.evaluator import Evaluator
from xmodal.evaluation.runs.run_report import run_report
from xmodal.files import write_json
from xmodal.processor import Processor
from xmodal.report.report import Record, Report
from xmodal.runs.checkpoint import State
from xmodal.runs.folder import kept_weights
from xmodal.runs.weights import FILE, kept_state, load_trained_state, save_tensors

Log = Callable[[dict[str, float]], None]


class Judge:
    """Scores the towers as they train, and at the end those that are kept.

    Args:
        config: the run.
        aligner: whose towers are judged.
        processors: of its sides.
        evaluators: by name.
        named: sides whose item ids the data name in a column of their own.
        labels: of the training pairs.
        log: writes metrics where the run logs.
    """

    def __init__(
        self,
        config: RunConfig,
        aligner: Aligner,
        processors: Mapping[str, Processor],
        evaluators: Mapping[str, Evaluator],
        named: Collection[str],
        labels: Collection[str],
        log: Log,
    ) -> None:
        self.config, self.aligner, self.evaluators, self.log = config, aligner, dict(evaluators), log
        self.encoder: Encoder = during_training(config, aligner, processors, named, labels)

    @property
    def weights(self) -> Path:
        """The file of the kept weights."""
        return self.config.output / FILE

    def evaluate(self, state: State) -> None:
        """Run the evaluators, log their numbers, keep the best weights; `state` remembers which are best.

        Raises:
            UserError: `train.best` names a metric that no evaluator gave.
        """
        self.aligner.eval()
        reports = [e.evaluate(self.encoder, name, brief=True) for name, e in self.evaluators.items()]
        values = self._log([record for report in reports for record in report.records])
        best = self.config.train.best
        if best is not None:
            if best not in values:
                raise UserError(f"train.best: no metric {best!r}; found {', '.join(sorted(values))}")
            if state.best is None or values[best] > state.best:
                state.best, state.best_step = values[best], state.step
                self.keep()
        self.aligner.train()

    def keep(self) -> None:
        """Write the weights of this moment as those the run offers."""
        save_tensors(kept_state(self.aligner), self.weights)

    def finish(self, facts: dict[str, Any]) -> Report:
        """Evaluate the kept weights with pictures and write the report; `facts` say what happened in training."""
        folder = self.config.output
        load_trained_state(self.aligner, kept_weights(folder), str(folder), whole=False)
        self.aligner.eval()
        write_json(folder / "training.json", facts)
        # with train.best these numbers belong to an earlier step, where they were logged
        own = self.config.train.best is None
        report = run_report(folder, self.encoder, self.evaluators, facts, self._log if own else lambda _: None)
        report.write(folder / "report")
        return report

    def _log(self, records: Sequence[Record]) -> dict[str, float]:
        values = {r.name: r.value for r in records if r.value is not None}
        if values:
            self.log(values)
        return values
