"""Rewordings of templates: hand-made answers, and rules of English that hold in every shipped set."""

import re

import pytest

from xmodal.evaluation.robustness.perturbations import PERTURBATIONS, perturbed_sets
from xmodal.prompts import load_synonyms, load_templates, template_sets

# "a" before a vowel, "an" before a consonant; the class name may be either
MISFIT = re.compile(r"\ba [\"']?[aeiou]|\ban [\"']?[b-df-hj-np-tv-z]", re.IGNORECASE)


@pytest.mark.parametrize(
    ("name", "template", "expected"),
    [
        ("lower case", "A Photo of {c}.", "a photo of {c}."),
        ("capital first", "a photo of a {c}.", "A photo of a {c}."),
        ("capital first", "{c} here", "{c} here"),
        ("no full stop", "a photo of a {c}.", "a photo of a {c}"),
        ("full stop", "please {c}", "please {c}."),
        ("full stop", "look, a {c}!", "look, a {c}!"),
        ("full stop", "Can you {c}", "Can you {c}"),
        ("article an", "a photo of a {c}.", "a photo of an {c}."),
        ("article an", "a photo of the small {c}.", "a photo of a small {c}."),
        ("article the", "a photo of a hard to see {c}.", "a photo of the hard to see {c}."),
        ("article the", "A {c} in a video game.", "The {c} in a video game."),
        ("article the", 'a close up photo of a "{c}" sign.', 'a close up photo of the "{c}" sign.'),
        ("article a", "a photo of the small {c}.", "a photo of a small {c}."),
        ("article a", "The origami {c} and the {c}.", "An origami {c} and a {c}."),
        ("no article", "a {c} in a video game.", "{c} in a video game."),
        ("no article", "A good {c}.", "Good {c}."),
        ("no article", "a photo of many {c}.", "a photo of many {c}."),
        # articles of another word than the class name
        ("no article", "a request to {c}", "a request to {c}"),
        ("article an", "a photo i took in {c}.", "a photo i took in {c}."),
        ("no article", "a photo of a face looking {c}.", "a photo of a face looking {c}."),
        ("no article", "a person doing {c}", "a person doing {c}"),
        ("picture for photo", "a bad photo of {c}", "a bad picture of {c}"),
        ("image for photo", "a photo of two photos of {c}", "an image of two images of {c}"),
        ("image for photo", "A photo of a {c}.", "An image of a {c}."),
        ("image for photo", "Photo of a {c}, a Photo", "Image of a {c}, an Image"),
        ("image for photo", "a photograph of a photo-like {c}", "a photograph of a photo-like {c}"),
        ("photo for image", "An image of an {c}", "A photo of an {c}"),
        ("kindly for please", "Please {c}, please", "Kindly {c}, kindly"),
        ("would like for want", "i want you to {c}", "i would like you to {c}"),
        ("would like for want", "she wants {c}", "she wants {c}"),
        ("person for user", "a user asks about {c}", "a person asks about {c}"),
    ],
)
def test_rewordings(name: str, template: str, expected: str) -> None:
    assert PERTURBATIONS[name](template) == expected


def test_names_are_distinct() -> None:
    assert len(PERTURBATIONS) == 8 + sum(map(len, load_synonyms().values()))


@pytest.mark.parametrize("name", template_sets())
def test_reworded_sets_keep_slots_articles_and_capitals(name: str) -> None:
    templates = load_templates(name)
    capitals = [template[:1].upper() + template[1:] for template in templates]
    for original in (templates, capitals):
        for change, new in perturbed_sets(original).items():
            assert new != original
            for before, after in zip(original, new, strict=True):
                assert after.count("{c}") == before.count("{c}")
                assert after == " ".join(after.split())
                # some published templates have "a origami": no rewording adds such, and an article one mends it
                assert len(MISFIT.findall(after)) <= ("article" not in change) * len(MISFIT.findall(before))
                if change != "lower case":
                    assert after[:1].islower() <= before[:1].islower()


def test_what_rewords_the_shipped_speech_prompts() -> None:
    sets = perturbed_sets(load_templates("speech_intent"))
    assert set(sets) == {
        "capital first",
        "full stop",
        "kindly for please",
        "could you for can you",
        "would like for want",
        "command for request",
        "request for command",
        "spoken command for voice command",
        "person for user",
        "inquires about for asks about",
    }
    assert sets["request for command"][5:] == [
        "a voice request about {c}",
        "the user asks about {c}",
        "a question or request for a home assistant: {c}",
    ]
    assert set(perturbed_sets(load_templates("name"))) == {"full stop"}
