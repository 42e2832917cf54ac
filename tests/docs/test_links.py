"""Every link of the Markdown in this repository leads to a file that is there, and to a heading that is in it."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\((?!https?://|mailto:)([^)\s]+)\)")


def pages() -> list[Path]:
    """The Markdown at the root, of docs/ and of examples/; what the site's build writes is left out."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")]
    return sorted(page for page in found if "_build" not in page.parts)


def without_boxes(page: Path) -> str:
    """The text of a page without its fenced boxes and indented lines, whatever stands in them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"^ {4}.*$", "", text, flags=re.MULTILINE)


def links(page: Path) -> list[str]:
    """What the links of a page lead to, addresses of other sites left out."""
    return LINK.findall(re.sub(r"`[^`]*`", "code", without_boxes(page)))


@cache
def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub names them: lower case, hyphens for spaces, a number behind the second alike."""
    names: set[str] = set()
    for heading in re.findall(r"^#{1,6} (.+?)\s*$", without_boxes(page), re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        name = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        names.add(
            name if name not in names else next(f"{name}-{n}" for n in range(1, 99) if f"{name}-{n}" not in names)
        )
    return names


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    wrong = []
    for target in links(page):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists():
            wrong.append(f"{target}: no such file")
        elif anchor and file.suffix == ".md" and anchor not in anchors(file):
            wrong.append(f"{target}: no such heading")
    assert not wrong, "\n".join(wrong)


def test_headings_are_named_as_github_names_them(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Which one?\n\n## `objective`, seed\n\n## A [link](x.md) in it\n\n```\n# no heading\n```\n\n## Which one?\n"
    )
    assert anchors(page) == {"which-one", "objective-seed", "a-link-in-it", "which-one-1"}


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One\n\n[`a`](#one) [b](#two), ![c](no.png), [d\nd](page.md#three) [e](https://x.org/#f)\n")
    assert links(page) == ["#one", "#two", "no.png", "page.md#three"]
    with pytest.raises(
        AssertionError, match=r"#two: no such heading\n +no.png: no such file\n +page.md#three: no such"
    ):
        test_links_resolve(page)


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 200
