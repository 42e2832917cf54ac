"""Every spec of a run: what a config file may say, its ranges and its defaults. Imports no torch.

One YAML file is one run (`RunConfig`). Specs are frozen, and an unknown key is an error. Field names are the
constructor argument names of the objects they build; a test compares names and defaults.
"""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class Spec(BaseModel):
    """Base of all specs: frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


# ------------------------------------------------------------------------------------------------- heads and towers


class IdentityHead(Spec):
    """No head: the backbone's pooled features are the embedding (before normalisation)."""

    kind: Literal["identity"] = "identity"


class LinearHead(Spec):
    """One linear map to `dim` (default: the width of the tower on the other side of the pair)."""

    kind: Literal["linear"] = "linear"
    dim: Count | None = None


class MLPHead(Spec):
    """Linear, GELU, linear."""

    kind: Literal["mlp"] = "mlp"
    dim: Count | None = None
    hidden: Count = 1024
    dropout: Share = 0.0


Head = Annotated[IdentityHead | LinearHead | MLPHead, Field(discriminator="kind")]

Mode = Literal["locked", "unlocked", "scratch"]


class TransformersTower(Spec):
    """Any `transformers` encoder: a text encoder, a sentence-transformers folder, or a speech encoder.

    `name` is a hub name, a local folder, or `package:NAME/FOLDER` for a model shipped inside an installed package.
    `pooling: auto` takes the folder's own sentence-transformers setting where there is one, else the mean.
    """

    kind: Literal["transformers"] = "transformers"
    name: str
    revision: str | None = None
    mode: Mode = "locked"
    pooling: Literal["auto", "mean", "cls", "last"] = "auto"
    max_length: Count | None = None
    trust_remote_code: bool = False
    head: Head = IdentityHead()


class SpeechEncoderTower(Spec):
    """xmodal's own speech encoder: log-mel, strided convolutions, transformer blocks, attention pooling."""

    kind: Literal["speech_encoder"] = "speech_encoder"
    mode: Mode = "scratch"
    weights: Path | None = None  # a run folder whose tower of this modality is taken over; modes locked and unlocked
    sample_rate: Count = 22050  # Hz
    mels: Count = 64
    fft: Count = 512  # samples; also the window length
    hop: Positive = 10.0  # ms
    low: float = Field(50.0, ge=0)  # Hz
    high: Positive = 7600.0  # Hz
    preemphasis: Share = 0.97
    top_db: Positive | None = None  # dB below the utterance's loudest bin where the log-mel ends; none: a fixed floor
    width: Count = 144
    layers: Count = 3
    heads: Count = 4
    feed_forward: Count = 576
    kernel: Count = 5
    strides: tuple[Count, ...] = (2, 2, 2)
    dropout: Share = 0.1
    head: Head = LinearHead()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.high > self.sample_rate / 2:
            raise ValueError(f"high {self.high:g} Hz is above half the sample rate {self.sample_rate}")
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} Hz is not below high {self.high:g} Hz")
        if (self.weights is None) != (self.mode == "scratch"):
            raise ValueError("weights goes with mode locked or unlocked, and those modes need weights")
        return self


LiveTower = Annotated[TransformersTower | SpeechEncoderTower, Field(discriminator="kind")]


class StoreTower(Spec):
    """The embeddings of a locked tower, computed once (`data_prep/embed_frozen.py`) and read from `path`.

    `tower` says which tower they must come from; a store made otherwise is refused. A store that does not exist is
    made when training starts. The live tower still encodes new items (prompts) at evaluation time.
    """

    kind: Literal["store"] = "store"
    path: Path
    tower: LiveTower
    head: Head = IdentityHead()

    @model_validator(mode="after")
    def _locked(self) -> Self:
        if self.tower.mode != "locked":
            raise ValueError(f"tower.mode is {self.tower.mode!r}: only a locked tower can be read from a store")
        if not isinstance(self.tower.head, IdentityHead):
            raise ValueError("tower.head must be identity: put the head beside `tower`, not inside it")
        return self


TowerSpec = Annotated[TransformersTower | SpeechEncoderTower | StoreTower, Field(discriminator="kind")]


# --------------------------------------------------------------------------------------------- kernels and objectives


class KernelSpec(Spec):
    """What every kernel shares: `centre` subtracts the mean guide feature first, `identity_mix` blends in one-hot."""

    centre: bool = False
    identity_mix: Share = 0.0


class AffineKernel(KernelSpec):
    """(1 + cos) / 2, the paper's CWCL weights."""

    kind: Literal["affine"] = "affine"


class PowerKernel(KernelSpec):
    """relu(cos) ** power."""

    kind: Literal["power"] = "power"
    power: Positive = 4.0


class ExpKernel(KernelSpec):
    """exp((cos - 1) / temperature)."""

    kind: Literal["exp"] = "exp"
    temperature: Positive = 0.1


class SoftmaxKernel(KernelSpec):
    """softmax(cos / temperature) along the row (X-CLR's targets)."""

    kind: Literal["softmax"] = "softmax"
    temperature: Positive = 0.1


class TopKKernel(KernelSpec):
    """Equal weight on the k most similar items."""

    kind: Literal["top_k"] = "top_k"
    k: Count = 8


class PerplexityKernel(KernelSpec):
    """Softmax whose temperature is set per row so that exp(entropy) = perplexity."""

    kind: Literal["perplexity"] = "perplexity"
    perplexity: float = Field(8.0, gt=1)


Kernel = Annotated[
    AffineKernel | PowerKernel | ExpKernel | SoftmaxKernel | TopKKernel | PerplexityKernel, Field(discriminator="kind")
]


class ObjectiveSpec(Spec):
    """What every objective shares. The logit scale starts at 1 / temperature."""

    temperature: Positive = 0.07
    learnable: bool = True
    max_scale: Positive = 100.0


class SoftmaxSpec(ObjectiveSpec):
    """What the softmax losses share."""

    reduction: Literal["mean", "sum"] = "mean"  # over the two directions
    keys: Literal["batch", "store"] = "batch"  # the trainable anchors' negatives: the batch, or the whole store


class InfoNCESpec(SoftmaxSpec):
    """CLIP's symmetric loss."""

    kind: Literal["infonce"] = "infonce"


class CWCLSpec(SoftmaxSpec):
    """Continuously weighted contrastive loss: `anchor` names the weighted direction(s)."""

    kind: Literal["cwcl"] = "cwcl"
    kernel: Kernel = AffineKernel()
    anchor: Literal["trainable", "frozen", "both"] = "trainable"
    scope: Literal["batch", "store"] = "batch"  # where a trainable anchor's targets lie

    @model_validator(mode="after")
    def _scope(self) -> Self:
        if self.scope == "store" and self.anchor != "trainable":
            raise ValueError(f"scope: store goes with anchor trainable, found anchor {self.anchor}")
        return self


class SigLIPSpec(ObjectiveSpec):
    """SigLIP's pairwise sigmoid loss; a kernel weights it by the frozen side's similarities."""

    kind: Literal["siglip"] = "siglip"
    temperature: Positive = 0.1
    bias: float = -10.0  # where the learnable bias starts
    kernel: Kernel | None = None  # none: 1 on pairs and equal items


Objective = Annotated[InfoNCESpec | CWCLSpec | SigLIPSpec, Field(discriminator="kind")]


# -------------------------------------------------------------------------------------------------------------- data


class SpeechAugment(Spec):
    """Augmentation of log-mel features, training only; every amount 0 is off (see `xmodal/data/views.py`)."""

    frequency_masks: int = Field(0, ge=0)
    frequency_width: int = Field(10, ge=0)  # mel bins, the widest mask
    time_masks: int = Field(0, ge=0)
    time_share: Share = 0.1  # of the utterance, the longest mask
    mel_roll: int = Field(0, ge=0)  # bins, up or down
    mel_warp: Share = 0.0  # largest relative stretch of the frequency axis
    speed: Share = 0.0  # largest relative change of tempo
    floor: Share = 0.0  # highest level to which quiet parts are raised, of the way from the lowest to the highest value
    tilt: float = Field(0.0, ge=0)  # largest spectral tilt, in standard deviations over the band
    noise: float = Field(0.0, ge=0)  # largest standard deviation of added noise


class TextModality(Spec):
    """A manifest column of strings."""

    kind: Literal["text"] = "text"
    column: str | None = None  # default: the modality's name


class AudioModality(Spec):
    """A manifest column of audio paths, relative to the manifest's folder."""

    kind: Literal["audio"] = "audio"
    column: str | None = None
    min_seconds: float = Field(0.05, ge=0)
    max_seconds: Positive = 30.0
    augment: SpeechAugment = SpeechAugment()

    @model_validator(mode="after")
    def _lengths(self) -> Self:
        if self.min_seconds > self.max_seconds:
            raise ValueError(f"min_seconds {self.min_seconds:g} is above max_seconds {self.max_seconds:g}")
        return self


ModalitySpec = Annotated[TextModality | AudioModality, Field(discriminator="kind")]

STANDARD_MODALITIES: dict[str, type[TextModality] | type[AudioModality]] = {
    "text": TextModality,
    "speech": AudioModality,
    "audio": AudioModality,
}


class DataSpec(Spec):
    """Paired data. `modalities` may be left out for the standard names text, speech and audio."""

    train: Path
    modalities: dict[str, ModalitySpec] = {}
    max_bad: Share = 0.01  # unreadable items are skipped, counted and listed up to this share, then an error
    buckets: int = Field(16, ge=0)  # length-bucketing: batches sorted together; 0 is off
    workers: int = Field(0, ge=0, le=256)
    cache_mb: int = Field(2048, ge=0)  # features kept in memory, per process; 0 is off
    made_by: str | None = None  # the command that makes the data, shown where it is missing


# -------------------------------------------------------------------------------------------------------- evaluation


class SpeechIntentEvaluator(Spec):
    """Zero-shot spoken intents: class vectors from prompts and from example sentences (text only).

    Candidates are the labels of `examples`, else those of the test; a test label outside them counts as wrong.
    """

    kind: Literal["speech_intent"] = "speech_intent"
    test: Path  # manifest with the speech column, text, label
    examples: Path | None = None  # manifest of text and label (no id needed): the sentences behind class means
    prompts: str = "speech_intent"  # a template set's name, or a YAML file
    names: Path | None = None  # JSON: label -> readable name; default: underscores become spaces
    cluster: str | None = None  # manifest column whose equal values are resampled together; default: the sentence
    trained: bool = False  # these classes occur in training: prompted classification, not zero-shot
    synthetic: bool = False  # the speech is TTS; true in any case where data_prep/synthesize_speech.py made the test
    max_bad: Share = 0.01  # unreadable recordings are not scored, and counted, up to this share, then an error
    speech: str = "speech"  # the modalities' names
    text: str = "text"


EvaluatorSpec = SpeechIntentEvaluator


# ---------------------------------------------------------------------------------------------------------- training


class Rule(Spec):
    """Parameters whose name matches `match` (a regex, `re.search`) get these settings; the first match wins."""

    match: str
    lr_scale: float = Field(1.0, ge=0)  # 0 freezes
    weight_decay: float | None = Field(None, ge=0)

    @field_validator("match")
    @classmethod
    def _is_regex(cls, match: str) -> str:
        try:
            re.compile(match)
        except re.error as error:
            raise ValueError(f"{match!r} is not a regular expression: {error}") from None
        return match


class OptimSpec(Spec):
    """AdamW, linear warm-up, cosine decay. Weight decay falls on matrices only, unless a rule says otherwise."""

    lr: float = Field(1e-3, gt=0, le=1e30)
    betas: tuple[Beta, Beta] = (0.9, 0.98)
    eps: Positive = 1e-8
    weight_decay: float = Field(0.05, ge=0)
    warmup: Share = 0.06  # share of the steps
    final: Share = 0.02  # share of lr left at the end
    clip: float = Field(1.0, ge=0)  # largest gradient norm; 0 is off
    rules: tuple[Rule, ...] = ()


class TrainSpec(Spec):
    """Length, batch and bookkeeping. `batch_size` counts pairs over ALL processes: a run means the same on any."""

    steps: Count = 1000
    batch_size: int = Field(64, ge=2)
    chunk: Count | None = None  # encode this many items at a time, recomputed in the backward pass
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    threads: Count | Literal["auto"] = "auto"  # CPU threads; auto times a few steps and keeps the fastest
    log_every: Count = 20  # steps
    eval_every: int = Field(0, ge=0)  # steps; 0: only at the end
    save_every: int = Field(200, ge=0)  # steps; 0: only at the end
    best: str | None = None  # EVALUATOR/METRIC that picks the weights kept; default: the last weights
    resume: bool = False  # go on from the run folder's last checkpoint, if there is one
    trackers: tuple[Literal["jsonl", "tensorboard"], ...] = ("jsonl", "tensorboard")


class RunConfig(Spec):
    """One run."""

    output: Path
    seed: int = Field(0, ge=0, lt=2**31)
    data: DataSpec
    towers: dict[str, TowerSpec] = Field(min_length=2)
    pairs: tuple[tuple[str, str], ...] = ()  # (trainable, guide) modalities; default: the one trainable, the one locked
    objective: Objective = CWCLSpec()
    optim: OptimSpec = OptimSpec()
    train: TrainSpec = TrainSpec()
    evaluators: dict[str, EvaluatorSpec] = {}

    @field_validator("towers", mode="after")
    @classmethod
    def _something_trains(cls, towers: dict[str, TowerSpec]) -> dict[str, TowerSpec]:
        if not any(trains(tower) for tower in towers.values()):
            raise ValueError("nothing to train: every tower is locked and has no head")
        return towers

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        problems = []
        for name in self.towers:
            if name not in self.data.modalities and name not in STANDARD_MODALITIES:
                problems.append(
                    f"towers.{name}: not a standard modality ({', '.join(STANDARD_MODALITIES)}): "
                    f"say what it is in data.modalities.{name}"
                )
        for pair in self.pairs:
            unknown = [name for name in pair if name not in self.towers]
            problems += [f"pairs: {name!r} is not one of the towers ({', '.join(self.towers)})" for name in unknown]
            if pair[0] == pair[1]:
                problems.append(f"pairs: {pair[0]!r} is paired with itself")
            elif not unknown and not trains(self.towers[pair[0]]):
                problems.append(
                    f"pairs: {list(pair)} names the trainable side first, but nothing of the {pair[0]} tower trains"
                )
        if not self.pairs and len(self.towers) != 2:
            problems.append(f"pairs: {len(self.towers)} towers need their pairs named, as [[trainable, guide], ...]")
        problems += self._store_problems()
        evaluator, _, metric = (self.train.best or "").partition("/")
        if self.train.best is not None and (evaluator not in self.evaluators or not metric):
            problems.append(
                f"train.best: {self.train.best!r}: expected EVALUATOR/METRIC with one of the evaluators "
                f"({', '.join(self.evaluators) or 'none'}), as {next(iter(self.evaluators), 'heldout')}/accuracy_mean"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _store_problems(self) -> list[str]:
        """Keys and targets over a whole store ask for a frozen side that is a store and nothing else."""
        whole = [name for name in ("keys", "scope") if getattr(self.objective, name, "batch") == "store"]
        if not whole or (not self.pairs and len(self.towers) != 2):
            return []
        frozen = [guide for _, guide in self.tower_pairs() if guide in self.towers]
        return [
            f"objective.{name}: store needs towers.{guide} of kind store with an identity head: "
            "other embeddings move, or are nowhere on disk"
            for name in whole
            for guide in frozen
            if not (isinstance(self.towers[guide], StoreTower) and not trains(self.towers[guide]))
        ]

    def modality(self, name: str) -> ModalitySpec:
        """The modality's spec, with the standard one where the config says nothing."""
        return self.data.modalities.get(name) or STANDARD_MODALITIES[name]()

    def tower_pairs(self) -> tuple[tuple[str, str], ...]:
        """(trainable, guide) modalities. For two towers: the locked one guides; both unlocked: the second guides."""
        if self.pairs:
            return self.pairs
        first, second = self.towers
        if not trains(self.towers[first]) or (is_locked(self.towers[first]) and not is_locked(self.towers[second])):
            first, second = second, first
        return ((first, second),)


def is_locked(spec: TransformersTower | SpeechEncoderTower | StoreTower) -> bool:
    """Does this tower's backbone stay as it is?"""
    return isinstance(spec, StoreTower) or spec.mode == "locked"


def trains(spec: TransformersTower | SpeechEncoderTower | StoreTower) -> bool:
    """Does anything in this tower train: its backbone or its head?"""
    return not (is_locked(spec) and isinstance(spec.head, IdentityHead))
