"""What the pages of docs/api name is there: the site's own build, which says so too, takes minutes."""

import re
from pathlib import Path
from pydoc import locate

import pytest

API = Path(__file__).resolve().parents[2] / "docs" / "api"
DIRECTIVE = re.compile(r"^\.\. auto\w+:: (\S+)$(?:\n   :members: (.+)$)?", re.MULTILINE)
NAMED = [(page.name, *found) for page in sorted(API.glob("*.md")) for found in DIRECTIVE.findall(page.read_text())]


@pytest.mark.parametrize(("page", "name", "members"), NAMED)
def test_a_name_of_a_page_exists(page: str, name: str, members: str) -> None:
    found = locate(name)
    assert found is not None, f"docs/api/{page}: no {name}"
    assert not [member for member in re.findall(r"\w+", members) if not hasattr(found, member)]
