"""Length, batches and bookkeeping of a run: what `train` in a config may say."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from xmodal.config.spec import Count, Positive, Spec


class TrainSpec(Spec):
    """Length, batch and bookkeeping. Batches are counted over ALL processes: a run means the same on any.

    A batch holds `batch_size` pairs; or, where `batch_seconds` is set, those of so many seconds of audio at most.
    """

    steps: Count = 1000
    batch_size: int | None = Field(64, ge=2)  # pairs; null beside batch_seconds
    batch_seconds: Positive | None = None
    chunk: Count | None = None  # encode this many items at a time, recomputed in the backward pass
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    threads: Count | Literal["auto"] = "auto"  # CPU threads; auto: this process's share of the physical cores
    # bilevel: after each update, one of the terms' outer problems through a virtual step of the heads (MetAug)
    step: Literal["plain", "bilevel"] = "plain"
    virtual_lr: Positive = 1e-3  # of the virtual step
    log_every: Count = 20  # steps
    eval_every: int = Field(0, ge=0)  # steps; 0: only at the end
    save_every: int = Field(200, ge=0)  # steps; 0: only at the end
    best: str | None = None  # EVALUATOR/METRIC that picks the weights kept; default: the last weights
    # go on from the run folder's last checkpoint, if there is one; changed: also with another lr, clip, ...
    resume: bool | Literal["changed"] = False
    trackers: tuple[Literal["jsonl", "tensorboard"], ...] = ("jsonl", "tensorboard")

    @model_validator(mode="before")
    @classmethod
    def _one_measure(cls, values: Any) -> Any:
        by_seconds = isinstance(values, dict) and values.get("batch_seconds") is not None
        return {"batch_size": None, **values} if by_seconds else values

    @model_validator(mode="after")
    def _measured(self) -> Self:
        if self.batch_size is not None and self.batch_seconds is not None:
            raise ValueError(
                f"batch_size {self.batch_size} and batch_seconds {self.batch_seconds:g} both say what a batch is; "
                "set one of them to null"
            )
        if self.batch_size is None and self.batch_seconds is None:
            raise ValueError("a batch has no size: set batch_size (pairs) or batch_seconds (of audio)")
        return self
