"""The site is built of the pages without a warning, holds every public name, and is shown whole at both widths."""

import subprocess
import sys
from pathlib import Path

import pytest
from browser import Browser

from xmodal import objectives, report, store
from xmodal.commands.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
WIDTHS = (1280, 400)  # pixels
SHOWN = (
    "index", "demo", "guide", "coming_from", "faq", "tutorials/images", "tutorials/own_modalities", "objectives/README",
    "objectives/softmax/cwcl", "api/objectives", "api/commands", "project/tree", "results",
)  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    for package in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(package, reason="the site wants the extra docs")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "--quiet", "--builder", "html"]
    done = subprocess.run(
        [*command, str(ROOT / "docs"), str(out)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return out


@pytest.mark.slow
def test_every_page_and_every_public_name_is_there(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        if "_build" not in page.parts:
            assert (site / page.relative_to(ROOT / "docs").with_suffix(".html")).is_file(), page
    for module, page in {objectives: "objectives", report: "report", store: "store"}.items():
        text = "".join(file.read_text() for file in (site / "api").glob("*.html"))
        missing = [name for name in module.__all__ if f"{module.__name__}.{name}" not in text]
        assert not [name for name in missing if not name.isupper()], page
    commands = (site / "api" / "commands.html").read_text()
    assert not [name for name in COMMANDS if f"usage: xmodal {name}" not in commands]
    tree = (site / "project" / "tree.html").read_text()
    assert "How a mistake reaches the person who made it" in tree


@pytest.mark.slow
def test_pages_are_shown_whole(site: Path, browser: Browser, tmp_path: Path) -> None:
    for page in SHOWN:
        for width in WIDTHS:
            seen = browser.look(site / f"{page}.html", width)
            screenshot = tmp_path / f"{page.replace('/', '-')}-{width}.png"
            screenshot.write_bytes(seen.screenshot)
            assert seen.problems == [], (screenshot, seen.problems)
