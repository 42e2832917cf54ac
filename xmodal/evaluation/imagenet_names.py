"""ImageNet's class names and prompt templates as open_clip ships them; read from the installed package, not copied.

Enters: nothing, or a set's name. Leaves: templates with `{c}` in them, and names by WordNet id.
"""

from pathlib import Path

from xmodal.evaluation.subsets import load_subset
from xmodal.prompts import load_templates

_TEMPLATES = {"imagenet80": "OPENAI_IMAGENET_TEMPLATES", "imagenet7": "SIMPLE_IMAGENET_TEMPLATES"}


def template_set(name_or_path: str | Path) -> list[str]:
    """CLIP's 80 ("imagenet80") or 7 ("imagenet7") ImageNet templates; any other set as `load_templates` gives it.

    Raises:
        UserError: as `load_templates` does.

    Example:
        len(template_set("imagenet80"))  # 80
    """
    variable = _TEMPLATES.get(str(name_or_path))
    if variable is None:
        return load_templates(name_or_path)
    from open_clip import zero_shot_metadata  # late: it takes seconds, and most sets do not need it

    return [template("{c}") for template in getattr(zero_shot_metadata, variable)]


def imagenet_classes() -> dict[str, str]:
    """WordNet id -> class name, the 1,000 classes of ImageNet in their usual order.

    The names are those curated for CLIP; 998 are distinct ("missile" and "sunglasses" name two classes each).

    Example:
        imagenet_classes()["n01440764"]  # "tench"
    """
    from open_clip import zero_shot_metadata

    return dict(zip(load_subset("imagenet").labels, zero_shot_metadata.IMAGENET_CLASSNAMES, strict=True))
