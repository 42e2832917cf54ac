"""A run as an encoder of mteb: its batches of texts, images or audio in, unit-norm embeddings out.

Imported only where mteb is wanted (`Encoder.as_mteb`). Axes: N items, D embedding.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta, ScoringFunction

from xmodal.errors import UserError

if TYPE_CHECKING:
    from xmodal.encoding.encoder import Encoder

KINDS = ("text", "image", "audio", "video")  # as mteb names the columns of its batches


class MTEBEncoder(AbsEncoder):
    """What `mteb.evaluate` asks of a model.

    Args:
        encoder: the run.
        sides: kind of item (text, image, audio) -> the modality that encodes it.

    Example:
        mteb.evaluate(xmodal.load("runs/demo").as_mteb(), mteb.get_tasks(tasks=["Banking77Classification"]))
    """

    def __init__(self, encoder: "Encoder", sides: Mapping[str, str]) -> None:
        self.model = encoder
        self.sides = dict(sides)
        self.mteb_model_meta = model_meta(encoder, self.sides)

    def encode(self, inputs: Iterable[Mapping[str, Any]], *, task_metadata: Any, **options: Any) -> np.ndarray:
        """Embeddings [N, D] of mteb's batches, in order.

        Args:
            inputs: batches as mteb's loaders give them: `{"text": [...]}`, `{"image": [Pillow images]}` or
                `{"audio": [{"array": ..., "sampling_rate": ...}]}`, and whatever else.
            task_metadata: of the task.
            options: mteb's; `batch_size` is that of its loader.

        Raises:
            UserError: items of a modality that the run lacks, or of two at once.
        """
        dim = next(iter(self.model.towers.values())).dim
        parts = [np.zeros((0, dim), np.float32)]
        parts += [self._embed(batch, str(task_metadata.name)) for batch in inputs]
        return np.concatenate(parts)

    def _embed(self, batch: Mapping[str, Any], task: str) -> np.ndarray:
        given = [kind for kind in KINDS if batch.get(kind) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise UserError(f"mteb task {task}: an item holds {found}; expected one of text, image or audio")
        [kind] = given
        if kind not in self.sides:
            raise UserError(lacking(task, [kind], self.model.name, self.sides))
        items, side = list(batch[kind]), self.sides[kind]
        if kind != "audio":
            return self.model.encode(side, items, output="numpy")
        rates = [int(item["sampling_rate"]) for item in items]
        waves = [np.asarray(item["array"], np.float32) for item in items]
        z = np.zeros((len(items), self.model.towers[side].dim), np.float32)
        for rate in set(rates):
            alike = [at for at, one in enumerate(rates) if one == rate]
            z[alike] = self.model.encode(side, [waves[at] for at in alike], sample_rate=rate, output="numpy")
        return z


def sides_by_kind(encoder: "Encoder", modalities: Iterable[str] | None = None) -> dict[str, str]:
    """Kind of item -> the modality that encodes it, of all modalities or of those named.

    Raises:
        UserError: no such modality, or two of one kind.
    """
    found: dict[str, str] = {}
    for modality in encoder.modalities if modalities is None else modalities:
        kind = encoder.kind(modality)
        if kind in found:
            raise UserError(
                f"{encoder.name}: {found[kind]} and {modality} are both {kind}, and mteb knows kinds alone; name the "
                f'modalities to take, as_mteb(["{modality}", ...])'
            )
        found[kind] = modality
    return found


def lacking(task: str, kinds: Iterable[str], model: str, sides: Mapping[str, str]) -> str:
    """The line for a task whose items a run cannot encode."""
    return (
        f"mteb task {task}: needs {', '.join(sorted(kinds))}, and {model} encodes {', '.join(sorted(sides))}; choose "
        "another task (mteb.get_tasks(modalities=[...]) lists them), or another run"
    )


def model_meta(encoder: "Encoder", sides: Mapping[str, str]) -> ModelMeta:
    """What mteb notes of a run; the revision is a digest of all that decides its embeddings."""
    told = "\n".join(f"{kind} {encoder.fingerprint(side)} {encoder.dtype}" for kind, side in sorted(sides.items()))
    towers = [encoder.towers[side] for side in sides.values()]
    length = getattr(encoder.processors[sides["text"]], "max_length", None) if "text" in sides else None
    return ModelMeta(
        loader=None,
        name=f"xmodal/{re.sub(r'[^A-Za-z0-9_.-]+', '_', Path(encoder.name).name) or 'run'}",
        revision=hashlib.sha256(told.encode()).hexdigest()[:40],
        release_date=None,
        languages=None,
        n_parameters=sum(parameter.numel() for tower in towers for parameter in tower.parameters()),
        memory_usage_mb=None,
        max_tokens=length,
        embed_dim=towers[0].dim,
        license=None,
        open_weights=None,
        public_training_code=None,
        public_training_data=None,
        framework=["PyTorch"],
        similarity_fn_name=ScoringFunction.COSINE,
        use_instructions=False,
        training_datasets=None,
        modalities=sorted(sides),
    )
