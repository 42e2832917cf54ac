"""What must agree between views, clusters and the rest of a run's config, known before anything is read.

Input: a `RunConfig` whose parts are right by themselves. Output: a line for each mistake, `dotted.key: what is wrong`.
"""

from typing import TYPE_CHECKING

from xmodal.config.data import STANDARD_MODALITIES, AudioModality, ModalitySpec, TextModality
from xmodal.config.terms.needs import needs_of
from xmodal.config.tower import TowerSpec

if TYPE_CHECKING:
    from xmodal.config.schema import RunConfig


def view_problems(config: "RunConfig") -> list[str]:
    """Augmentation that would go unseen, and views that would all be the same."""
    problems = []
    for name, tower in config.towers.items():
        if tower.is_stored and config.data.streaming:
            problems.append(f"data.streaming: towers.{name} is read from a store, which holds items by id; use it live")
        if tower.is_stored and (name in config.data.modalities or name in STANDARD_MODALITIES):
            problems += _stored_view_problems(name, tower, config.modality(name))
    return problems


def _stored_view_problems(name: str, tower: TowerSpec, spec: ModalitySpec) -> list[str]:
    """Augmentation that a tower read from a store would not see, and views of it that would all be the same."""
    part = "waveform" if isinstance(spec, AudioModality) else "augment"
    active = getattr(spec, part).is_active
    problems = []
    if active and tower.views_stored == 1:
        problems.append(
            f"data.modalities.{name}.{part}: towers.{name} is read from a store and sees no augmentation of its items; "
            f"leave it out, set towers.{name}.views, or use the tower live, kind: {tower.live.kind}"
        )
    if tower.views_stored > 1 and not active:
        problems.append(f"towers.{name}.views: all would be the same: set data.modalities.{name}.{part}")
    if isinstance(spec, AudioModality) and spec.augment.is_active and not tower.holds_sequences:
        problems.append(
            f"data.modalities.{name}.augment: towers.{name} is read from a store of vectors and sees no augmentation; "
            "leave it out, or choose a head over sequences"
        )
    if isinstance(spec, AudioModality) and spec.windows is not None:
        problems.append(
            f"data.modalities.{name}.windows: towers.{name} is read from a store, which holds whole recordings; leave "
            f"it out, or use the tower live, kind: {tower.live.kind}"
        )
    if isinstance(spec, TextModality) and spec.augment.words_them_anew:
        problems.append(
            f"data.modalities.{name}.augment.alternatives: towers.{name} is read from a store, which holds texts "
            "without the other columns of their rows; make the text's column a list of all wordings, or use the tower "
            f"live, kind: {tower.live.kind}"
        )
    return problems


def cluster_problems(config: "RunConfig") -> list[str]:
    """Clusters of what cannot be clustered, and clusters that nothing asks for."""
    spec = config.data.clusters
    if spec is None:
        return []
    if spec.side not in config.towers:
        return [f"data.clusters.side: {spec.side!r} is not one of the towers ({', '.join(config.towers)})"]
    tower, problems = config.towers[spec.side], []
    if config.data.streaming:
        problems.append("data.clusters: the items of a stream are not known beforehand; set data.streaming=false")
    wanted = [
        need.what for term in config.term_specs().values() for on in config.groups(term) for need in needs_of(term, on)
    ]
    if "labels" not in wanted:
        problems.append("data.clusters: no term of the objective asks for labels; take it out, or choose supcon")
    if spec.refresh != "never" and not tower.trains:
        problems.append(
            f"data.clusters.refresh: nothing of towers.{spec.side} trains, so its clusters stay; set refresh to never"
        )
    if spec.refresh == "never" and not tower.is_stored:
        ways = [f"make it of kind store, tower: {{kind: {tower.kind}, ...}}"] * tower.is_locked
        ways += ["set data.clusters.refresh, in epochs: then its embeddings are clustered"] * tower.trains
        problems.append(
            f"data.clusters.side: towers.{spec.side} has no store whose features could be clustered; "
            + ", or ".join(ways)
        )
    if spec.refresh == "never" and tower.is_stored and tower.holds_sequences:
        way_out = ", or set data.clusters.refresh, in epochs: then its embeddings are" if tower.trains else ""
        problems.append(
            f"data.clusters.side: the store of towers.{spec.side} holds sequences, which are not clustered; name "
            f"another side{way_out}"
        )
    return problems
