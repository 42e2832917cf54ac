"""Length, batches and bookkeeping of a run: what `train` in a config may say."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from xmodal.config.spec import Count, Positive, Spec

if TYPE_CHECKING:
    from xmodal.config.schema import RunConfig


Tracker = Literal[
    "jsonl", "tensorboard", "wandb", "trackio", "mlflow", "comet_ml", "aim", "swanlab", "clearml", "dvclive"
]


class ShuffledBatches(Spec):
    """Pairs meet by chance; of similar length where `data.buckets` says so."""

    kind: Literal["shuffled"] = "shuffled"


class HardBatches(Spec):
    """A share of each batch are pairs whose guide items are near neighbours of others in it: hard negatives."""

    kind: Literal["hard"] = "hard"
    share: float = Field(0.5, ge=0, lt=1)  # of a batch, mined
    neighbours: Count = 32  # of each item, from which is mined
    guide: str | None = None  # the side whose stored features say who is near; default: the guide of the first pair
    skip_nearest: int = Field(0, ge=0)  # neighbours that are passed over: the nearest may be positives
    max_similarity: float | None = Field(None, gt=-1, le=1)  # a neighbour's largest cosine
    other_labels: bool = False  # neighbours have another label
    search: Literal["auto", "exact", "usearch"] = "auto"  # auto: usearch from 100,000 items on, where it is installed


class TrainSpec(Spec):
    """Length, batch and bookkeeping. Batches are counted over ALL processes: a run means the same on any.

    A batch holds `batch_size` pairs; or, where `batch_seconds` is set, those of so many seconds of audio at most.
    """

    steps: Count = 1000
    batch_size: int | None = Field(64, ge=2)  # pairs; null beside batch_seconds
    batch_seconds: Positive | None = None
    sampler: Annotated[ShuffledBatches | HardBatches, Field(discriminator="kind")] = ShuffledBatches()
    chunk: Count | None = None  # encode this many items at a time, recomputed in the backward pass
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    threads: Count | Literal["auto"] = "auto"  # CPU threads; auto: this process's share of the physical cores
    # bilevel: after each update, one of the terms' outer problems through a virtual step of the towers (MetAug)
    step: Literal["plain", "bilevel"] = "plain"
    virtual: Literal["heads", "all"] = "heads"  # what makes the virtual step: heads alone, or backbones too
    virtual_lr: Positive = 1e-3  # of the virtual step
    log_every: Count = 20  # steps
    eval_every: int = Field(0, ge=0)  # steps; 0: only at the end
    save_every: int = Field(200, ge=0)  # steps; 0: only at the end
    best: str | None = None  # EVALUATOR/METRIC that picks the weights kept; default: the last weights
    # go on from the run folder's last checkpoint, if there is one; changed: also with another lr, clip, ...
    resume: bool | Literal["changed"] = False
    trackers: tuple[Tracker, ...] = ("jsonl", "tensorboard")
    tracker_options: dict[Tracker, dict[str, Any]] = Field(
        default_factory=dict
    )  # as the tracker's own start takes them

    @model_validator(mode="before")
    @classmethod
    def _one_measure(cls, values: Any) -> Any:
        by_seconds = isinstance(values, dict) and values.get("batch_seconds") is not None
        return {"batch_size": None, **values} if by_seconds else values

    @model_validator(mode="after")
    def _measured(self) -> Self:
        unused = [name for name in self.tracker_options if name not in self.trackers]
        if unused:
            raise ValueError(f"tracker_options: {unused[0]} is none of the trackers; add it to them, or take this out")
        if self.virtual == "all" and self.chunk is not None:
            raise ValueError(
                "virtual: all differentiates the backbones twice, which chunks do not allow; set virtual: heads, or "
                "leave chunk out"
            )
        if self.batch_size is not None and self.batch_seconds is not None:
            raise ValueError(
                f"batch_size {self.batch_size} and batch_seconds {self.batch_seconds:g} both say what a batch is; "
                "set one of them to null"
            )
        if self.batch_size is None and self.batch_seconds is None:
            raise ValueError("a batch has no size: set batch_size (pairs) or batch_seconds (of audio)")
        return self


def guide_of_batches(config: "RunConfig") -> str | None:
    """The side by whose features hard negatives are mined: the one named, else the guide of the run's first pair."""
    named = getattr(config.train.sampler, "guide", None)
    return named or next((guide for _, guide in config.tower_pairs()), None)


def sampler_problems(config: "RunConfig") -> list[str]:
    """Hard negatives where there are no stored features to mine by, or nothing is known before it is read."""
    if not isinstance(config.train.sampler, HardBatches):
        return []
    key, guide = "train.sampler", guide_of_batches(config)
    if config.data.streaming:
        return [f"{key}: hard negatives are looked for among all pairs, which a stream does not know; take it out"]
    if config.train.batch_seconds is not None:
        return [f"{key}: hard negatives are for batches of so many pairs; set train.batch_size, not batch_seconds"]
    if guide is None:
        return [f"{key}.guide: no pair of the run says which side guides; name it, as {next(iter(config.towers))}"]
    if guide not in config.towers:
        return [f"{key}.guide: {guide!r} is not one of the towers ({', '.join(config.towers)})"]
    tower = config.towers[guide]
    if not tower.is_stored or tower.holds_sequences:
        found = "a store of sequences" if tower.is_stored else f"of kind {tower.kind}"
        return [
            f"{key}: hard negatives are mined by stored vectors, and towers.{guide} is {found}; read it from a store "
            f"(towers.{guide}.kind: store) without a head over sequences, or name another side: {key}.guide"
        ]
    return []
