"""Small rewordings of a prompt template that leave its meaning alone: case, full stop, article, synonym.

Enters: a template with `{c}` in it. Leaves: the reworded template, or the same one where there is nothing to reword.
"""

import re
from collections.abc import Callable, Mapping

# the article of the class name: the last one before {c} with nothing but adjectives between, so no "of"
_ARTICLE = re.compile(r"\b(?:an?|the)\s+(?=(?:(?!(?:an?|the|of|about|for|with)\b)\w+\s+)*\{c\})", re.IGNORECASE)


def _lower(template: str) -> str:
    return "{c}".join(part.lower() for part in template.split("{c}"))


def _capital(template: str) -> str:
    return template if template.startswith("{c}") else template[:1].upper() + template[1:]


def _no_full_stop(template: str) -> str:
    return template.removesuffix(".")


def _full_stop(template: str) -> str:
    return template if template.endswith((".", "!", "?")) else template + "."


def _article(word: str) -> Callable[[str], str]:
    return lambda template: _ARTICLE.sub(f"{word} " if word else "", template)


def _photo(word: str, article: str) -> Callable[[str], str]:
    def reword(template: str) -> str:
        template = re.sub(r"\ba photo\b", f"{article} {word}", template)
        return re.sub(r"\bphoto(s?)\b", rf"{word}\1", template)

    return reword


PERTURBATIONS: Mapping[str, Callable[[str], str]] = {
    "lower case": _lower,
    "capital first": _capital,
    "no full stop": _no_full_stop,
    "full stop": _full_stop,
    "article a": _article("a"),
    "article an": _article("an"),
    "article the": _article("the"),
    "no article": _article(""),
    "picture for photo": _photo("picture", "a"),
    "image for photo": _photo("image", "an"),
}


def perturbed_sets(templates: list[str]) -> dict[str, list[str]]:
    """Name -> the whole set reworded; rewordings that change no template are left out.

    Example:
        perturbed_sets(["a photo of a {c}."])["article the"]  # ["a photo of the {c}."]
    """
    reworded = {name: [change(template) for template in templates] for name, change in PERTURBATIONS.items()}
    return {name: new for name, new in reworded.items() if new != templates}
