"""What the specs of all heads and towers share. A kind's own settings stand in its class (`xmodal/towers/`)."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from xmodal.config.kinds import HEADS, TOWERS
from xmodal.config.spec import KindSpec

Mode = Literal["locked", "unlocked", "scratch"]
Side = Literal["visual", "text"]


class Whereabouts:
    """Marks a field that says where a tower's weights come from, not what it computes: the weights themselves tell.

    Example:
        class Spec(TowerKind.Spec):
            name: Annotated[str, Whereabouts()]
    """


class HeadSpec(KindSpec):
    """What every head's spec shares."""

    trains: ClassVar[bool] = True  # has it parameters?
    over_sequence: ClassVar[bool] = False  # does it pool the backbone's sequence itself?
    gives_codes: ClassVar[bool] = False  # does it choose among the entries of codebooks?


AnyHead = Annotated[HeadSpec, HEADS]


def no_head() -> HeadSpec:
    """The head of a tower that names none."""
    spec: HeadSpec = HEADS.spec("identity")()  # type: ignore[assignment]
    return spec


class TowerSpec(KindSpec):
    """What every tower's spec shares: a head, and what the rest of xmodal asks of a tower before it is built."""

    # kind of modality -> what a key meant in runs written before there was such a key, where that is not its default
    earlier: ClassVar[dict[str, dict[str, Any]]] = {}

    head: AnyHead = Field(default_factory=no_head)

    @property
    def is_locked(self) -> bool:
        """Does this tower's backbone stay as it is? One with LoRA does not: its features change in training."""
        raise NotImplementedError

    @property
    def trains(self) -> bool:
        """Does anything in this tower train: its backbone, its low-rank updates or its head?"""
        return not (self.is_locked and not self.head.trains)

    @property
    def live(self) -> "TowerSpec":
        """The tower that encodes new items: this one, or the one whose features a store holds."""
        return self

    @property
    def is_stored(self) -> bool:
        """Are its features read from a store?"""
        return self.live is not self

    @property
    def holds_sequences(self) -> bool:
        """Does its store hold a sequence for each item, rather than a vector?"""
        return False

    @property
    def views_stored(self) -> int:
        """Augmented views of each item in its store; 1: the item as it is, or no store."""
        return 1

    @classmethod
    def whereabouts(cls) -> frozenset[str]:
        """The fields marked `Whereabouts`."""
        return frozenset(
            name
            for name, field in cls.model_fields.items()
            if any(isinstance(mark, Whereabouts) for mark in field.metadata)
        )

    def settings(self) -> dict[str, Any]:
        """All that the spec says of what the tower computes, as JSON; not its whereabouts, nor its head."""
        return self.model_dump(mode="json", exclude={*self.whereabouts(), "head"})


def _is_tower(spec: KindSpec) -> KindSpec:
    if not isinstance(spec, TowerSpec):
        raise ValueError(f"kind {spec.kind!r}: its Spec is not derived from that of xmodal.towers.kind.TowerKind")
    return spec


AnyTower = Annotated[TowerSpec, TOWERS, AfterValidator(_is_tower)]
