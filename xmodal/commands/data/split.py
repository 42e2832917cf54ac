"""Cut a manifest into parts: train, dev, test. Settings are chosen on a dev split, which no test shares a row with.

    xmodal split data/cifar10/train.parquet data/cifar10_dev --dev 0.1
    xmodal split data/mine.jsonl data/mine --by speaker --dev 0.1 --test 0.1    # no speaker in two parts
    xmodal split openclipart/manifest.jsonl data/openclipart --on split         # the column says which part

Writes OUT/train.parquet and so on. Who goes where depends on the values alone: it is the same again tomorrow.
"""

import argparse
from pathlib import Path

from xmodal.commands.parsing import command_parser
from xmodal.commands.paths import require_data
from xmodal.errors import UserError


def main(argv: list[str]) -> None:
    """Parse the command line and write the parts."""
    parser = command_parser("split", __doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path, metavar="OUT")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--by", default="id", metavar="COLUMN", help="rows of one value stay together (default: id)")
    how.add_argument("--on", metavar="COLUMN", help="the column whose values name the parts")
    parser.add_argument("--dev", type=_share, help="share of the rows")
    parser.add_argument("--test", type=_share, help="share of the rows")
    given = parser.parse_args(argv)
    require_data(given.manifest)
    shares = {name: share for name, share in (("dev", given.dev), ("test", given.test)) if share is not None}
    if bool(shares) == bool(given.on):
        raise UserError("split: give --dev or --test with a share, or --on with the column that names the parts")
    if sum(shares.values()) >= 1:
        raise UserError(f"split: --dev and --test take {sum(shares.values()):g} of the rows; leave some to train on")

    from xmodal.corpora.manifest_split import split_manifest

    for path, rows in split_manifest(given.manifest, given.out, given.on or given.by, shares).items():
        print(f"{path}: {rows:,} rows")


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a share between 0 and 1, such as 0.1")
    return value
