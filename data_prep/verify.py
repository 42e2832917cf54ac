"""Check a corpus' archives against their published checksums, before they are unpacked.

    python data_prep/verify.py imagenet downloads/imagenet

Prints a line for each archive whose checksum is published (`xmodal/corpora/checksums.yaml` says by whom): ok, differs,
or not there. Exit code 2 where one differs.
"""

import argparse
import sys
from pathlib import Path

from xmodal.corpora.checksums import PUBLISHED, verify
from xmodal.errors import UserError, run_script


def main(argv: list[str]) -> None:
    """Read the command line, check the archives."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", choices=sorted(PUBLISHED))
    parser.add_argument("folder", type=Path, help="where the archives lie, as downloaded")
    options = parser.parse_args(argv)
    wrong = []
    for name, found, right in verify(options.corpus, options.folder):
        print(f"{options.folder / name}: {found}", flush=True)
        wrong += [] if right else [name]
    if wrong:
        raise UserError(f"{options.folder}: not as published: {', '.join(wrong)}; download again")


if __name__ == "__main__":
    sys.exit(run_script(main))
