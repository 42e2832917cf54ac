"""Names that would break imports: `accelerate launch xmodal/train.py` puts xmodal/ first on sys.path."""

import importlib.metadata
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def installed_modules() -> set[str]:
    own = {"xmodal"}
    return {name for name in importlib.metadata.packages_distributions() if name not in own}


@pytest.mark.parametrize("folder", ["xmodal", "eval", "data_prep", "benchmarks"])
def test_no_module_hides_the_standard_library_or_a_dependency(folder: str) -> None:
    names = {p.stem for p in (ROOT / folder).iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    names -= {"__init__"}
    assert names
    assert not names & set(sys.stdlib_module_names)
    assert not names & installed_modules()
