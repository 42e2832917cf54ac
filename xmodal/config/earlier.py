"""What a key that is not in a run's config meant when the run was written: runs go on giving what they gave.

A run writes every key there is into its config.yaml, so a key that is missing there is newer than the run.
"""

from typing import Any

from xmodal.config.data import MODALITY_OF_KIND, STANDARD_MODALITIES
from xmodal.config.kinds import TOWERS
from xmodal.config.tower import TowerSpec
from xmodal.errors import UserError


def fill_in(config: dict[str, Any]) -> None:
    """Set, in a saved config as plain values, the keys of its towers that there were not yet.

    Example:
        fill_in(found)  # towers.speech.window is "cut" where found was written before there was a window
    """
    towers, data = config.get("towers"), config.get("data")
    modalities = data.get("modalities") if isinstance(data, dict) else None
    for side, tower in towers.items() if isinstance(towers, dict) else ():
        given = modalities.get(side) if isinstance(modalities, dict) else None
        named = given.get("kind") if isinstance(given, dict) else None
        modality = MODALITY_OF_KIND.get(str(named)) or STANDARD_MODALITIES.get(side)
        while isinstance(tower, dict) and modality is not None:
            for key, value in _meant(tower.get("kind")).get(modality().kind, {}).items():
                tower.setdefault(key, value)
            tower = tower.get("tower")


def _meant(kind: Any) -> dict[str, dict[str, Any]]:
    """What a kind of xmodal's own says of its keys; nothing of a kind that there is not, which is told elsewhere."""
    try:
        spec = TOWERS.spec(kind) if isinstance(kind, str) and TOWERS.is_own(kind) else None
    except UserError:
        spec = None
    return spec.earlier if spec is not None and issubclass(spec, TowerSpec) else {}
