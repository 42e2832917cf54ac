"""Corpora by name: imported when they are named, one's own among them."""

import subprocess
import sys
from pathlib import Path

import pytest

from xmodal.config.kinds import CORPORA
from xmodal.corpora.splits import has_splits, splits_of
from xmodal.errors import UserError

IMPORTED = """
import sys
from xmodal.config.kinds import CORPORA
import xmodal.corpora
assert not [name for name in sys.modules if name.startswith(("xmodal.corpora.speech", "xmodal.corpora.images"))]
CORPORA.find("fsdd")
print(*sorted(name for name in sys.modules if name.startswith("xmodal.corpora.speech.")), "torch" in sys.modules)
"""


def test_a_corpus_is_imported_when_it_is_named() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["xmodal.corpora.speech.fsdd", "False"]


def test_splits_stand_beside_the_reader() -> None:
    assert splits_of("coco") == ("train", "val")
    assert splits_of("cifar10") == splits_of("cifar100") == ("train", "test")
    assert splits_of("coco_karpathy") == ("train", "restval", "val", "test")
    assert splits_of("flickr30k_karpathy") == ("train", "val", "test")
    assert splits_of("fsdd") == ()


@has_splits("one")
def my_corpus(root: Path, out: Path, limit: int | None = None, splits: tuple[str, ...] = ()) -> dict[Path, int]:
    """A reader outside xmodal."""
    return {out / "one.jsonl": limit or 3}


def test_a_reader_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "my_package", sys.modules[__name__])
    assert CORPORA.find("my_package:my_corpus")(Path("in"), Path("out"), 2) == {Path("out/one.jsonl"): 2}
    assert splits_of("my_package:my_corpus") == ("one",)
    with pytest.raises(UserError, match=r"'imagnet' is not one of .*; did you mean imagenet\?"):
        CORPORA.find("imagnet")
    with pytest.raises(UserError, match=r"my_package:other cannot be imported \(it has no such"):
        CORPORA.find("my_package:other")
