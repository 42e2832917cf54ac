"""Turn a corpus as it is published into manifests; the audio stays where it is.

    python data_prep/prepare.py fsdd data/fsdd runs/data/fsdd
    python data_prep/prepare.py slurp data/slurp runs/data/slurp --limit 200

Prints each file written with its number of rows. Corpora: fsdd (human digits, six leave-one-speaker-out folds),
nlu_home (home-assistant sentences), slurp (devel sentences). The last two are texts, to be voiced by
`data_prep/synthesize_speech.py`.
"""

import argparse
import sys
from pathlib import Path

from xmodal.corpora import CORPORA
from xmodal.errors import UserError, run_script


def main(argv: list[str]) -> None:
    """Read the command line, prepare one corpus, say what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", choices=sorted(CORPORA))
    parser.add_argument("root", type=Path, help="the corpus' folder, as unpacked")
    parser.add_argument("out", type=Path, help="where the manifests go")
    parser.add_argument("--limit", type=int, help="keep this many rows of each manifest")
    options = parser.parse_args(argv)
    if options.limit is not None and options.limit < 1:
        raise UserError(f"--limit: {options.limit} must be at least 1")
    for path, rows in CORPORA[options.corpus](options.root, options.out, options.limit).items():
        print(f"{path}: {rows} rows")


if __name__ == "__main__":
    sys.exit(run_script(main))
