"""How the site is made of the Markdown beside this file: `make docs`, which writes `docs/_build`."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from xmodal import __version__  # noqa: E402

project = "xmodal"
author = "the xmodal contributors"
copyright = "the xmodal contributors, Apache-2.0"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "command_help", "docstrings", "outside_links", "pages_below", "tree"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

myst_heading_anchors = 4  # links to headings are written as GitHub makes them
myst_enable_extensions = ["colon_fence", "deflist"]
highlight_language = "none"  # indented blocks are commands or what they print
suppress_warnings = ["ref.python"]  # `Spec` is the nested class of many: which one a signature means, its page says

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"

html_theme = "furo"
html_title = f"xmodal {version}"
html_static_path = ["_static"]
html_css_files = ["xmodal.css"]
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
