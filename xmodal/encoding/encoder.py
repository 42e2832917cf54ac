"""A trained run, or any dual encoder, behind one method: `encode(modality, items)`.

Input: texts, audio, images. Output: unit-norm embeddings, float32, on the CPU. Everything an evaluator knows of a model
goes through here.
"""

import hashlib
import importlib.util
import logging
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from xmodal.data.image import MOST_PIXELS
from xmodal.data.reading import ItemReader
from xmodal.data.tally import Tally
from xmodal.encoding.cutting import Cut, add_cut, count_of, cut_line
from xmodal.encoding.embedding_cache import Embedded, EmbeddingCache, RowCache
from xmodal.encoding.fingerprint import fingerprint_of
from xmodal.encoding.media import require_list
from xmodal.encoding.side import Side
from xmodal.errors import UserError
from xmodal.processor import Processor
from xmodal.progress import progress_bar
from xmodal.towers.kinds.store import StoreProcessor
from xmodal.towers.tower import Tower

if TYPE_CHECKING:
    from xmodal.hub.push import Pushed

Item = str | Path | bytes | np.ndarray | Tensor | Image.Image
Made = TypeVar("Made")

log = logging.getLogger(__name__)


class Encoder:
    """Towers of a run, ready to encode.

    Args:
        towers: modality -> tower; a modality trained from a store has its live tower here.
        processors: modality -> what prepares its items.
        stores: modality -> processor of the store its tower was trained from; texts found there are not encoded again.
        name: how reports call it.
        provenance: what a report records of it.
        dtype: what the towers run in (autocast); embeddings are float32 in any case.
        max_pixels: modality -> largest image that is decoded.
        trained_labels: of the pairs it was trained on, where they had labels.

    Example:
        encoder = xmodal.load("runs/demo")
        z = encoder.encode("text", ["turn on the lights"])  # [1, D]; texts too long for the tower: encoder.cut
    """

    def __init__(
        self,
        towers: Mapping[str, Tower],
        processors: Mapping[str, Processor],
        stores: Mapping[str, StoreProcessor] | None = None,
        name: str = "",
        provenance: dict[str, Any] | None = None,
        dtype: torch.dtype = torch.float32,
        max_pixels: Mapping[str, int] | None = None,
        trained_labels: Collection[str] = (),
    ) -> None:
        self._dtype = dtype
        self.folder: Path | None = None  # of the run it was loaded from
        self.cache: EmbeddingCache | None = None  # where embeddings of files stay for the next evaluation
        self.feature_caches: dict[str, RowCache] = {}  # modality -> where what its locked backbone says of files stays
        self.towers = dict(towers)
        self.processors = dict(processors)
        self.stores = dict(stores or {})
        self.name = name
        self.provenance = dict(provenance or {})
        self.max_pixels = dict(max_pixels or {})
        self.trained_labels = frozenset(trained_labels)
        self._cut = {modality: Tally(modality) for modality in self.towers}
        self._sides = {
            modality: Side(modality, name, tower, self.processors[modality], self.stores.get(modality), dtype)
            for modality, tower in self.towers.items()
        }
        self._remembered: dict[Hashable, Any] = {}

    def __repr__(self) -> str:
        return f"Encoder({self.name!r}: {', '.join(f'{side} ({kind})' for side, kind in self.kinds.items())})"

    dtype = property(lambda self: self._dtype, doc="What the towers run in.")

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities it encodes."""
        return tuple(self.towers)

    @property
    def kinds(self) -> dict[str, str]:
        """The modalities it encodes, and what each is: text, audio or image."""
        return {name: self.processors[name].kind for name in self.towers}

    def kind(self, modality: str) -> str:
        """What an item of this modality is. Raises `UserError` where there is no such modality."""
        if modality not in self.towers:
            raise UserError(f"modality {modality!r}: {self.name or 'this run'} encodes {', '.join(self.towers)}")
        return self.processors[modality].kind

    @property
    def cut(self) -> dict[str, int]:
        """Modality -> how many of the items encoded so far its tower did not see whole; none, no entry."""
        return {name: count for name, tally in self._cut.items() if (count := count_of(tally))}

    def cut_items(self, modality: str) -> list[dict[str, Any]]:
        """Those items of a modality by reason, as JSON: `{"reason", "count", "examples": [[item, reason], ...]}`."""
        return list(self._cut[modality].as_dict()["cut"])

    def fingerprint(self, modality: str) -> str:
        """SHA-256 over what decides this modality's embeddings: weights, settings of the tower, preprocessing."""
        spec = self.provenance.get("towers", {}).get(modality, {})
        return fingerprint_of(self.towers[modality], self.processors[modality], spec)

    def push_to_hub(self, repository: str, **card: Any) -> "Pushed":
        """Put the run it was loaded from on the hub: `xmodal.push(run, repository, **card)`.

        Raises:
            UserError: it is of no run folder; and what `xmodal.push` raises.

        Example:
            xmodal.load("runs/mine").push_to_hub("jo/spoken-intents", license="apache-2.0", language=["en"])
        """
        from xmodal.hub.push import push  # late: few ask for it

        if self.folder is None:
            raise UserError(f"{self.name or 'this encoder'}: no run folder, and only runs can be pushed; load one")
        return push(self.folder, repository, **card)

    def is_fixed(self, modality: str) -> bool:
        """Do the embeddings of this modality never change: a locked tower without a head?"""
        return modality in self.towers and self.towers[modality].guides

    def remember(self, modality: str, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` gives, made once where the embeddings of `modality` never change, else every time.

        An encoder judges a run many times while it trains: what depends on a locked side alone (class vectors, a
        test's images) is worth making once. `key` must tell apart all that `make` depends on besides the modality.

        Example:
            vectors = encoder.remember("text", ("class vectors", self.content()), lambda: encoder.encode("text", names))
        """
        if not self.is_fixed(modality):
            return make()
        if (modality, key) not in self._remembered:
            self._remembered[modality, key] = make()
        found: Made = self._remembered[modality, key]
        return found

    def as_mteb(self, modalities: Collection[str] | None = None) -> Any:
        """This encoder as a model of mteb, for `mteb.evaluate`.

        Args:
            modalities: those to offer, one of a kind (text, image, audio), for mteb knows kinds alone; default: all.

        Raises:
            UserError: mteb is not installed, or two modalities are of one kind.

        Example:
            mteb.evaluate(xmodal.load("runs/demo").as_mteb(), mteb.get_tasks(tasks=["STSBenchmark"]))
        """
        if importlib.util.find_spec("mteb") is None:
            raise UserError("as_mteb needs mteb, not installed here; pip install 'xmodal[mteb]'")
        from xmodal.encoding.mteb_encoder import MTEBEncoder, sides_by_kind  # late: mteb takes seconds to import

        return MTEBEncoder(self, sides_by_kind(self, modalities))

    @overload
    def encode(
        self, modality: str, items: Sequence[Item], sample_rate: int | None = ..., batch_size: int | None = ...,
        output: Literal["torch"] = ...,
    ) -> Tensor: ...  # fmt: skip
    @overload
    def encode(
        self, modality: str, items: Sequence[Item], sample_rate: int | None = ..., batch_size: int | None = ...,
        *, output: Literal["numpy"],
    ) -> NDArray[np.float32]: ...  # fmt: skip
    def encode(
        self,
        modality: str,
        items: Sequence[Item],
        sample_rate: int | None = None,
        batch_size: int | None = None,
        output: Literal["torch", "numpy"] = "torch",
    ) -> Tensor | NDArray[np.float32]:
        """Unit-norm embeddings [N, D], float32, on the CPU.

        Items that are longer than the tower reads are cut, counted in `cut`, and told in one warning.

        Args:
            modality: one of `modalities`.
            items: texts; audio as paths, bytes, or arrays (which need their `sample_rate`); images as paths, bytes,
                Pillow images, or arrays uint8 [H, W, 3] or [H, W].
            sample_rate: Hz, of audio arrays.
            batch_size: items at a time; default: 256 on a GPU, else 64, halved where memory runs out.
            output: a torch tensor, or a numpy array.

        Raises:
            UserError: no such modality, an item that cannot be read, embeddings that are not finite.
        """
        if output not in ("torch", "numpy"):
            raise UserError(f"output {output!r}: expected torch or numpy")
        z, _, skipped = self.encode_readable(modality, items, sample_rate, batch_size)
        if skipped:
            raise UserError(f"{modality}: {skipped[0][1]}" + (f" (and {len(skipped) - 1} more)" if skipped[1:] else ""))
        return z.numpy() if output == "numpy" else z

    def encode_readable(
        self,
        modality: str,
        items: Sequence[Item],
        sample_rate: int | None = None,
        batch_size: int | None = None,
        progress: str | None = None,
    ) -> Embedded:
        """As `encode`, leaving out what cannot be read: (z [M, D], positions kept [M], (position, reason) skipped)."""
        kind, side = self.kind(modality), self._sides[modality]
        require_list(modality, kind, items, batch_size)
        cut: Cut = []
        pixels = self.max_pixels.get(modality, MOST_PIXELS)
        reader = ItemReader(self.processors[modality], max_pixels=pixels, sample_rate=sample_rate)
        if kind == "text":
            z = side.texts(reader, items, batch_size, progress, cut)
            found: Embedded = z, [*range(len(items))], []
        else:
            with progress_bar(total=len(items), desc=progress, unit="items", delay=2, disable=progress is None) as bar:

                def encode(part: Sequence[Item]) -> Embedded:
                    return side.media(reader, part, batch_size, self.feature_caches.get(modality), bar, cut)

                if self.cache is None:
                    found = encode(items)
                else:
                    maker = hashlib.sha256(f"{self.fingerprint(modality)} {self.dtype}".encode()).hexdigest()[:32]
                    found = self.cache.embeddings(maker, items, self.towers[modality].dim, encode, cut)
        if cut:
            log.warning("%s: %s: %s", self.name or "encoder", modality, cut_line(cut, len(items)))
            add_cut(self._cut[modality], cut)
        return found
