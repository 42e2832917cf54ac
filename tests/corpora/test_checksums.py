"""Published checksums: torchvision's, CIFAR's own, and archives that differ."""

import hashlib
from pathlib import Path

import pytest
from torchvision.datasets.imagenet import ARCHIVE_META

from xmodal.corpora import CORPORA
from xmodal.corpora.checksums import PUBLISHED, differs, verify
from xmodal.corpora.images import cifar
from xmodal.errors import UserError


def test_every_entry_has_the_right_form() -> None:
    assert PUBLISHED.keys() <= CORPORA.keys()
    for archives in PUBLISHED.values():
        for versions in archives.values():
            for version in versions:
                sums = {kind: version[kind] for kind in ("md5", "sha256") if kind in version}
                assert sums
                for kind, value in sums.items():
                    assert len(bytes.fromhex(value)) == hashlib.new(kind).digest_size
                assert version["published"].startswith("http")
                assert version["checksum_of"]


def test_the_same_as_elsewhere() -> None:
    imagenet = {name: versions[0]["md5"] for name, versions in PUBLISHED["imagenet"].items()}
    assert imagenet == dict(ARCHIVE_META.values())
    for version in (cifar.CIFAR10, cifar.CIFAR100):
        assert PUBLISHED[version.corpus][version.archive][0]["md5"] == version.md5


def test_the_same_as_torchaudios() -> None:
    pytest.importorskip("torchaudio")
    from torchaudio.datasets import librispeech, speechcommands

    known = librispeech._CHECKSUMS | speechcommands._CHECKSUMS
    published = {**PUBLISHED["librispeech"], **PUBLISHED["speech_commands_v1"], **PUBLISHED["speech_commands_v2"]}
    theirs = {url.rpartition("/")[2]: sha256 for url, sha256 in known.items()}
    assert len(theirs) == 9
    assert {name: published[name][0]["sha256"] for name in theirs} == theirs


def test_archives(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    archive.write_bytes(b"abc")
    md5 = "900150983cd24fb0d6963f7d28e17f72"  # RFC 1321, A.5
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    assert differs(archive, [{"md5": md5}]) is None
    assert differs(archive, [{"bytes": 4, "sha256": "00"}, {"bytes": 3, "sha256": sha256}]) is None
    assert differs(archive, [{"bytes": 4, "md5": md5}, {"bytes": 5, "md5": md5}]) == "3 bytes, expected 4 or 5"
    assert differs(archive, [{"bytes": 3, "md5": "00"}]) == f"md5 {md5}, expected 00"


def test_a_corpus_without_checksums() -> None:
    with pytest.raises(UserError, match="objectnet: no published checksum is known; known: cifar10, cifar100"):
        next(verify("objectnet", Path()))
