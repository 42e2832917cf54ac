"""A tower out of a finished run, head and all, as a locked tower of another run: tuned first, then frozen.

Input: a run folder and one of its sides. Output: a backbone whose features are that tower's embeddings before
normalisation. Axes: B items, D embedding of that run, which is this tower's G.
"""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import TypeAdapter, ValidationError, model_validator
from safetensors.torch import save_file
from torch import Tensor, nn

from xmodal.config.earlier import fill_in
from xmodal.config.error_lines import error_lines
from xmodal.config.kinds import TOWERS
from xmodal.config.tower import AnyTower, TowerSpec, Whereabouts
from xmodal.config.yaml_text import read_yaml, write_yaml
from xmodal.errors import UserError
from xmodal.files import write_text, written_whole
from xmodal.processor import Processor
from xmodal.towers.kind import TowerKind
from xmodal.towers.weights import FILE, read_tower_weights, shapes_of

_SPECS: TypeAdapter[dict[str, TowerSpec]] = TypeAdapter(dict[str, AnyTower])


class RunBackbone(nn.Module):
    """Another run's tower.

    Args:
        tower: with its weights.
        spec: its own, as its run folder rebuilds it.
    """

    def __init__(self, tower: Any, spec: TowerSpec):
        super().__init__()
        self.tower, self.spec = tower, spec
        self.width = int(tower.dim)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """A batch of that tower's processor -> its embeddings before normalisation [B, D]."""
        raw: Tensor = self.tower(inputs).raw
        return raw


class RunTower(TowerKind):
    """One side of a finished run, locked."""

    packages: ClassVar[tuple[str, ...]] = ()

    class Spec(TowerKind.Spec):
        """`path` is the run's folder, `side` one of its towers.

        `config` names the config that trains it; where the run is not there yet, it is trained first.
        """

        path: Annotated[Path, Whereabouts()]
        side: str
        config: Annotated[str | None, Whereabouts()] = None
        trust_remote_code: bool = False

        @model_validator(mode="after")
        def _stays(self) -> Self:
            if self.mode != "locked" or self.lora is not None:
                raise ValueError("mode, lora: a finished run's tower stays as it is; leave them out")
            return self

    def load(self, spec: Spec) -> tuple[nn.Module, Processor]:
        """The run's tower and its processor.

        Raises:
            UserError: no finished run there, no such side in it, code from outside xmodal that is not trusted.
        """
        from xmodal.towers import build_tower  # late: it is made of the kinds

        inner = _local(spec)
        weights = read_tower_weights(spec.path, f"towers.{spec.side}.")
        # a head without `dim` took its width from the run's other side
        for dim in [None, *sorted({len(value) for name, value in weights.items() if name.startswith("head.")})]:
            tower, processor = build_tower(inner, dim)
            own = {name: value for name, value in tower.state_dict().items() if not tower.fixed(name)}
            if shapes_of(own) == shapes_of(weights):
                tower.load_state_dict(weights, strict=False)
                return RunBackbone(tower, inner), processor
        raise UserError(f"{spec.path}/{FILE}: its weights do not fit its config.yaml; was it edited?")

    def save(self, spec: Spec, backbone: Any, processor: Any, folder: Path) -> None:
        """A run folder in small: the one tower, its config and its weights."""
        from xmodal.towers import save_tower

        tower, inner = backbone.tower, backbone.spec
        save_tower(inner, tower, processor, folder / "towers" / spec.side)
        kept = {name: value for name, value in tower.state_dict().items() if not tower.fixed(name)}
        tensors = {
            f"towers.{spec.side}.{name}": value.detach().cpu().contiguous().clone() for name, value in kept.items()
        }
        with written_whole(folder / FILE) as beside:
            save_file(tensors, beside)
        described = {"format": 2, "towers": {spec.side: inner.model_dump(mode="json")}}
        write_text(folder / "config.yaml", write_yaml(described))

    def local(self, spec: Spec, folder: Path) -> TowerSpec:
        """The same side of the folder that `save` wrote."""
        return spec.model_copy(update={"path": folder, "config": None})

    def model_of(self, spec: Spec) -> dict[str, Any]:
        """What its tower computes; the weights are told apart by themselves."""
        return {"kind": spec.kind, "side": spec.side, **_inner(spec).live.settings()}

    def runs_code(self, spec: Spec) -> bool:
        """`trust_remote_code`."""
        return spec.trust_remote_code

    def without_code(self, spec: Spec) -> TowerSpec:
        """The same, with `trust_remote_code` off."""
        return spec.model_copy(update={"trust_remote_code": False})


def _local(spec: RunTower.Spec) -> TowerSpec:
    """The spec that rebuilds the run's tower from its folder."""
    from xmodal.towers import local_spec, without_code

    local = local_spec(_inner(spec), spec.path / "towers" / spec.side)
    return local if spec.trust_remote_code else without_code(local)


def _inner(spec: RunTower.Spec) -> TowerSpec:
    """What the run's config says of its tower."""
    path = spec.path / "config.yaml"
    if not path.is_file() or not (spec.path / FILE).is_file():
        raise UserError(
            f"tower {spec.kind!r}: {spec.path}: no finished run there; train it, or name the config that trains it "
            "(config: ...)"
        )
    found = read_yaml(path.read_text(encoding="utf-8"))
    towers = found.get("towers") if isinstance(found, dict) else None
    if not isinstance(towers, dict) or spec.side not in towers:
        there = ", ".join(towers) if isinstance(towers, dict) else "none"
        raise UserError(f"tower {spec.kind!r}: {path}: has no side {spec.side!r}; its towers: {there}")
    fill_in(found)
    kind = towers[spec.side].get("kind")
    if isinstance(kind, str) and not spec.trust_remote_code and not TOWERS.is_own(kind):
        raise UserError(
            f"tower {spec.kind!r}: {path}: its {spec.side} tower needs code from outside xmodal ({kind}); where you "
            "trust it, set trust_remote_code: true"
        )
    one = {spec.side: towers[spec.side]}
    try:
        return _SPECS.validate_python(one)[spec.side]
    except ValidationError as error:
        raise UserError("\n".join(error_lines(error, one, lambda _: str(path), dict[str, AnyTower]))) from None
