"""The shipped template sets: an attribute per set, read when it is asked for (`shipped.cifar`).

A YAML file each (`speech_intent.yaml`, ...), CLIP's sets by data set in `clip.yaml`, and CLIP's 80 and 7 for ImageNet,
which are read from the installed open_clip.
"""

from pathlib import Path

from xmodal.config.yaml_text import read_yaml

_FOLDER = Path(__file__).parent
_OPEN_CLIP = {"imagenet80": "OPENAI_IMAGENET_TEMPLATES", "imagenet7": "SIMPLE_IMAGENET_TEMPLATES"}


def by_name(file: str) -> dict[str, list[str]]:
    """A shipped YAML file of lists by name."""
    found: dict[str, list[str]] = read_yaml((_FOLDER / file).read_text(encoding="utf-8"))
    return found


def load_synonyms() -> dict[str, list[str]]:
    """Words of templates -> what may stand in their place; `(s)` marks words that may have it, and keep it.

    Example:
        load_synonyms()["photo(s)"]  # ["picture(s)", "image(s)"]
    """
    return by_name("synonyms.yaml")


def __getattr__(name: str) -> list[str]:
    if name in _OPEN_CLIP:
        from open_clip import zero_shot_metadata  # late: it takes seconds, and most sets do not need it

        return [template("{c}") for template in getattr(zero_shot_metadata, _OPEN_CLIP[name])]
    if name.isidentifier() and not name.startswith("_"):
        in_clip = by_name("clip.yaml")
        if name in in_clip:
            return in_clip[name]
        file = _FOLDER / f"{name}.yaml"
        if file.is_file():
            found: list[str] = read_yaml(file.read_text(encoding="utf-8"))
            return found
    raise AttributeError(name)
