"""Turn a corpus as it is published into manifests; the audio and the images stay where they are.

    xmodal prepare fsdd data/fsdd runs/data/fsdd
    xmodal prepare slurp data/slurp runs/data/slurp --limit 200
    xmodal prepare coco data/coco runs/data/coco --split val
    xmodal prepare cc12m data/cc12m data/cc12m

Prints each file written with its number of rows; `NAME.skipped.jsonl` lists what was left out of NAME, with reasons.
Run again after a kill, it goes on where it was (tars of img2dataset); after the end, manifests whose corpus is the same
are left as they are. `xmodal verify` checks the archives first, where their checksums are published.

Speech and texts: fsdd (human digits, six leave-one-speaker-out folds), nlu_home (home-assistant sentences), slurp
(devel sentences); the last two are texts, to be voiced by `xmodal synthesize`. Images and captions: cc3m, cc12m,
yfcc15m (tars of img2dataset), coco, flickr30k, and the two in Karpathy's split, the one retrieval is quoted on:
coco_karpathy, flickr30k_karpathy. Images and labels: cifar10, cifar100, imagenet, imagenet_v2, imagenet_r, imagenet_a,
objectnet, image_folder (any folder of class folders).
"""

from pathlib import Path

from xmodal.commands.parsing import at_least, command_parser
from xmodal.commands.paths import require_folder
from xmodal.errors import UserError


def main(argv: list[str]) -> None:
    """Read the command line, prepare one corpus, say what was written."""
    parser = command_parser("prepare", __doc__)
    parser.add_argument("corpus", help="one of those above, or a function of your own: my_package.module:prepare")
    parser.add_argument("root", type=Path, help="the corpus' folder, as unpacked")
    parser.add_argument("out", type=Path, help="where the manifests go")
    parser.add_argument("--limit", type=at_least(1, "--limit"), help="keep this many rows of each manifest")
    parser.add_argument("--split", nargs="+", metavar="NAME", help="only these splits, such as train or val")
    options = parser.parse_args(argv)
    require_folder(options.root)

    from xmodal.corpora import CORPORA, SPLITS

    prepare = CORPORA[options.corpus]
    known = SPLITS.get(options.corpus, ())
    unknown = [split for split in options.split or () if split not in known]
    if unknown:
        raise UserError(
            f"--split: {options.corpus} has {', '.join(known) or 'no splits to choose'}; found {unknown[0]}"
        )
    chosen = {"splits": options.split} if options.split else {}
    for path, rows in prepare(options.root, options.out, options.limit, **chosen).items():
        print(f"{path}: {rows} rows")
