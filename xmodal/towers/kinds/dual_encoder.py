"""A whole dual encoder by one name, as the two locked towers behind it.

Input: `open_clip:NAME[@PRETRAINED]` or `transformers:NAME`. Output: `{"image": spec, "text": spec}`.
"""

from pathlib import Path

from xmodal.errors import UserError
from xmodal.towers.kinds.open_clip import OpenCLIPTower
from xmodal.towers.kinds.transformers import TransformersTower

FORMS = "open_clip:NAME, open_clip:NAME@PRETRAINED or transformers:NAME_OR_FOLDER"


def dual_encoder_specs(name: str) -> dict[str, OpenCLIPTower.Spec | TransformersTower.Spec]:
    """The specs of both sides, locked and without heads.

    PRETRAINED is a tag or a safetensors file; NAME is what the towers take: a model's name, `hf-hub:OWNER/MODEL`, a
    folder, for open_clip also a JSON model config.

    Raises:
        UserError: no such form, or a `transformers` model that does not embed both images and texts.

    Example:
        specs = dual_encoder_specs("open_clip:ViT-B-32@laion2b_s34b_b79k")
        specs["image"].side  # "visual"
    """
    library, _, model = name.partition(":")
    if library == "open_clip" and model:
        model, pretrained = _parts(model)
        visual = OpenCLIPTower.Spec(name=model, pretrained=pretrained or None, side="visual")
        return {"image": visual, "text": visual.model_copy(update={"side": "text"})}
    if library == "transformers" and model:
        from xmodal.towers.huggingface.dual import BOTH, DUAL  # late: it imports transformers
        from xmodal.towers.huggingface.model import read_config
        from xmodal.towers.huggingface.source import locate

        spec = TransformersTower.Spec(name=model, side="visual")
        found = read_config(locate(spec)).model_type
        if found not in BOTH:
            lacking = [side for side in ("visual", "text") if side not in DUAL.get(found, {})]
            raise UserError(
                f"{name}: type {found!r} has no {' and no '.join(lacking)} side known here; dual encoders with both: "
                f"{', '.join(BOTH)}"
            )
        return {"image": spec, "text": spec.model_copy(update={"side": "text"})}
    raise UserError(f"model {name!r}: expected {FORMS}")


def _parts(model: str) -> tuple[str, str]:
    """NAME and PRETRAINED of NAME[@PRETRAINED]; a NAME that is a path here may hold an @ of its own."""
    cuts = [at for at, letter in enumerate(model) if letter == "@"]
    there = [at for at in [len(model), *cuts] if Path(model[:at]).expanduser().exists()]
    at = [*there, *cuts[-1:], len(model)][0]
    return model[:at], model[at + 1 :]
