"""Turn a corpus as it is published into manifests; the audio and the images stay where they are.

    python data_prep/prepare.py fsdd data/fsdd runs/data/fsdd
    python data_prep/prepare.py slurp data/slurp runs/data/slurp --limit 200
    python data_prep/prepare.py coco data/coco runs/data/coco --split val
    python data_prep/prepare.py cc12m data/cc12m data/cc12m

Prints each file written with its number of rows; `NAME.skipped.jsonl` lists what was left out of NAME, with reasons.
Run again after a kill, it goes on where it was (tars of img2dataset); after the end, manifests whose corpus is the same
are left as they are. `data_prep/verify.py` checks the archives first, where their checksums are published.

Speech and texts: fsdd (human digits, six leave-one-speaker-out folds), nlu_home (home-assistant sentences), slurp
(devel sentences); the last two are texts, to be voiced by `data_prep/synthesize_speech.py`. Images and captions: cc3m,
cc12m, yfcc15m (tars of img2dataset), coco, flickr30k, and the two in Karpathy's split, the one retrieval is quoted on:
coco_karpathy, flickr30k_karpathy. Images and labels: cifar10, cifar100, imagenet, imagenet_v2, imagenet_r, imagenet_a,
objectnet, image_folder (any folder of class folders).
"""

import argparse
import sys
from pathlib import Path

from xmodal.corpora import CORPORA, SPLITS
from xmodal.errors import UserError, run_script


def main(argv: list[str]) -> None:
    """Read the command line, prepare one corpus, say what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", choices=sorted(CORPORA))
    parser.add_argument("root", type=Path, help="the corpus' folder, as unpacked")
    parser.add_argument("out", type=Path, help="where the manifests go")
    parser.add_argument("--limit", type=int, help="keep this many rows of each manifest")
    parser.add_argument("--split", nargs="+", metavar="NAME", help="only these splits, such as train or val")
    options = parser.parse_args(argv)
    if options.limit is not None and options.limit < 1:
        raise UserError(f"--limit: {options.limit} must be at least 1")
    known = SPLITS.get(options.corpus, ())
    unknown = [split for split in options.split or () if split not in known]
    if unknown:
        raise UserError(
            f"--split: {options.corpus} has {', '.join(known) or 'no splits to choose'}; found {unknown[0]}"
        )
    chosen = {"splits": options.split} if options.split else {}
    for path, rows in CORPORA[options.corpus](options.root, options.out, options.limit, **chosen).items():
        print(f"{path}: {rows} rows")


if __name__ == "__main__":
    sys.exit(run_script(main))
