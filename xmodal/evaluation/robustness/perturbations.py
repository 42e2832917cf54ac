"""Small rewordings of a prompt template that leave its meaning alone: case, full stop, article, synonym.

Input: a template with `{c}` in it. Output: the reworded template, or the same one where there is nothing to reword.
The synonyms are data, `xmodal/prompts/synonyms.yaml`. "a" and "an" follow the word after them; before the class name,
which is not known here, they stay as they are asked for. A sentence that began with a capital still does.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial

from xmodal.prompts import load_synonyms

# What cannot stand between an article and {c} if it is the article of the class name: "a photo of {c}", "a person {c}",
# "a photo i took in {c}", "a request to {c}". The rest is taken for adjectives.
_NO_ADJECTIVE = (
    "an?|the|i|of|about|for|with|in|on|at|from|by|to|that|while|looking|showing|visiting"
    "|person|using|doing|during|performing|practicing"
)
_ADJECTIVE = rf"(?:hard\s+to\s+see|(?!(?:{_NO_ADJECTIVE})\b)[\w-]+)\s+"
_ARTICLE = re.compile(rf"\b(?:an?|the)\s+(?=(?:{_ADJECTIVE})*[\"']?\{{c\}})", re.IGNORECASE)
_QUESTION = re.compile(r"(?:can|could|will|would|what|who|which)\b", re.IGNORECASE)


def _lower(template: str) -> str:
    return "{c}".join(part.lower() for part in template.split("{c}"))


def _capital(template: str) -> str:
    return template if template.startswith("{c}") else template[:1].upper() + template[1:]


def _no_full_stop(template: str) -> str:
    return template.removesuffix(".")


def _full_stop(template: str) -> str:
    return template if template.endswith((".", "!", "?")) or _QUESTION.match(template) else template + "."


def _as_before(new: str, old: str) -> str:
    """`new` with a capital where `old` begins with one."""
    return _capital(new) if old[:1].isupper() else new


def _indefinite(word: str) -> str:
    return "an" if word[:1].lower() in "aeiou" else "a"


def _article(article: str, template: str) -> str:
    def reworded(found: re.Match[str]) -> str:
        after = template[found.end() :].lstrip("\"'")
        fits = _indefinite(after) if article in ("a", "an") and not after.startswith("{c}") else article
        return _as_before(f"{fits} ", found[0]) if fits else ""

    return _as_before(_ARTICLE.sub(reworded, template), template)


def _synonym(old: str, new: str, template: str) -> str:
    words = re.escape(old.removesuffix("(s)")) + ("(?P<s>s?)" if old.endswith("(s)") else "(?P<s>)")
    pattern = re.compile(rf"(?<![\w-])(?:(?P<article>an?)\s+)?(?P<word>{words})(?![\w-])", re.IGNORECASE)

    def reworded(found: re.Match[str]) -> str:
        word = _as_before(new.removesuffix("(s)") + found["s"], found["word"])
        return f"{_as_before(_indefinite(word), found['article'])} {word}" if found["article"] else word

    return pattern.sub(reworded, template)


_SYNONYMS: Mapping[str, Callable[[str], str]] = {
    f"{new.removesuffix('(s)')} for {old.removesuffix('(s)')}": partial(_synonym, old, new)
    for old, others in load_synonyms().items()
    for new in others
}
PERTURBATIONS: Mapping[str, Callable[[str], str]] = {
    "lower case": _lower,
    "capital first": _capital,
    "no full stop": _no_full_stop,
    "full stop": _full_stop,
    "article a": partial(_article, "a"),
    "article an": partial(_article, "an"),
    "article the": partial(_article, "the"),
    "no article": partial(_article, ""),
    **_SYNONYMS,
}


def perturbed_sets(templates: list[str]) -> dict[str, list[str]]:
    """Name -> the whole set reworded; rewordings that change no template are left out.

    Example:
        perturbed_sets(["a photo of a {c}."])["article the"]  # ["a photo of the {c}."]
    """
    reworded = {name: [change(template) for template in templates] for name, change in PERTURBATIONS.items()}
    return {name: new for name, new in reworded.items() if new != templates}
