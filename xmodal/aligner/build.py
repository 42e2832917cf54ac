"""From a config to its `Aligner`: towers whose embeddings can be compared, the terms of the loss, momentum targets."""

from collections.abc import Mapping, Sequence

from torch import nn

from xmodal.aligner.aligner import Aligner, Term
from xmodal.aligner.target import MomentumTarget
from xmodal.config.kinds import OBJECTIVES
from xmodal.config.schema import RunConfig
from xmodal.config.terms.terms import key_of
from xmodal.config.tower import TowerSpec
from xmodal.errors import UserError
from xmodal.objectives.engine.key_bank import KeyBank
from xmodal.processor import Processor
from xmodal.towers import build_tower
from xmodal.towers.heads import build_head
from xmodal.towers.kinds.store import StoreProcessor
from xmodal.towers.tower import Tower


def build_towers(
    specs: Mapping[str, TowerSpec], groups: Sequence[tuple[str, ...]]
) -> tuple[dict[str, Tower], dict[str, Processor]]:
    """The towers and their processors; a head whose `dim` is left out gets the width of the side it is compared with.

    Args:
        specs: side -> tower.
        groups: sides that are compared with each other.

    Raises:
        UserError: embeddings of unequal width in one group; whatever a tower raises.
    """
    towers: dict[str, Tower] = {}
    processors: dict[str, Processor] = {}

    def build(side: str, dim: int | None = None) -> None:
        if side not in towers:
            towers[side], processors[side] = build_tower(specs[side], out_dim=dim)

    groups = sorted(groups, key=len, reverse=True)  # what is compared with others first
    for group in groups:
        if len(group) > 1:  # first the side whose width is given, the last one if none is
            given = [side for side in group if getattr(specs[side].head, "dim", None) or not specs[side].head.trains]
            build((given or group)[-1])
    for group in groups:
        guide = next((side for side in reversed(group) if side in towers), group[-1])
        build(guide)
        for side in group:
            build(side, towers[guide].dim)
            if towers[side].dim != towers[guide].dim:
                raise UserError(
                    f"towers.{side}.head: embeddings of {towers[side].dim} numbers cannot be compared with "
                    f"{guide}'s {towers[guide].dim}; give it a head, with dim {towers[guide].dim} or without dim"
                )
    return {side: towers[side] for side in specs}, processors


def build_aligner(config: RunConfig) -> tuple[Aligner, dict[str, Processor]]:
    """Towers, terms, targets and processors of a config.

    Raises:
        UserError: what `build_towers` raises; a virtual step that no term asks for.
    """
    specs = config.term_specs()
    groups = [group for spec in specs.values() for group in config.groups(spec)]
    towers, processors = build_towers(config.towers, groups)
    terms = [Term(name, OBJECTIVES.build(spec), config.groups(spec)) for name, spec in specs.items()]
    stores = {side: p.store for side, p in processors.items() if isinstance(p, StoreProcessor) and not p.sequences}
    banks = {side: KeyBank(store.all_rows(), store.ids) for side, store in stores.items()}
    copied = {side: spec for side, spec in config.targets.items() if spec.copies}
    targets = {side: MomentumTarget(towers[side], spec.momentum, spec.every) for side, spec in copied.items()}
    predictors: dict[str, nn.Module] = {
        side: build_head(spec.predictor, towers[side].dim, towers[side].dim)  # type: ignore[arg-type]
        for side, spec in config.targets.items()
        if spec.predictor is not None
    }
    aligner = Aligner(towers, terms, config.train.chunk, targets, predictors, banks)
    outer = [term.name for term in terms if term.objective.outer_parameters()]  # known once they are prepared
    if config.train.step == "bilevel" and not outer:
        raise UserError("train.step: bilevel is for a term with an outer problem, and none here has one; use plain")
    if outer and config.train.step != "bilevel":
        raise UserError(f"{key_of(config, outer[0])}: its outer problem is never solved; set train.step=bilevel")
    return aligner, processors
