"""Turn a corpus as it is published into manifests; the audio and the images stay where they are.

    xmodal prepare fsdd data/fsdd runs/data/fsdd
    xmodal prepare slurp data/slurp runs/data/slurp --limit 200
    xmodal prepare coco data/coco runs/data/coco --split val
    xmodal prepare cc12m data/cc12m data/cc12m

Prints each file written with its number of rows; `NAME.skipped.jsonl` lists what was left out of NAME, with reasons,
and a line for each kind of reason says how many.
Run again after a kill, it goes on where it was (tars of img2dataset); after the end, manifests whose corpus is the same
are left as they are. `xmodal verify` checks the archives first, where their checksums are published.

Speech: common_voice, fluent_speech_commands, fsdd, librispeech, minds14, slurp_audio, speech_commands_v1,
speech_commands_v2, speechocean762, stop. Sounds: audiocaps and clotho (captions), esc10, esc50, urbansound8k (folds),
audio_folder (any class folders of recordings, or a manifest.jsonl beside them). Texts, for `xmodal synthesize`:
nlu_home, slurp. Images and captions: cc3m, cc12m, yfcc15m (tars of img2dataset), coco, flickr30k, and the two in
Karpathy's split, the one retrieval is quoted on: coco_karpathy, flickr30k_karpathy. Images and labels: cifar10,
cifar100, imagenet, imagenet_v2, imagenet_r, imagenet_a, objectnet, image_folder (any folder of class folders).
"""

import glob
from pathlib import Path

from xmodal.commands.parsing import at_least, command_parser
from xmodal.commands.paths import require_data
from xmodal.errors import UserError
from xmodal.files import read_json_lines


def main(argv: list[str]) -> None:
    """Read the command line, prepare one corpus, say what was written."""
    parser = command_parser("prepare", __doc__)
    parser.add_argument("corpus", help="one of those above, or a function of your own: my_package.module:prepare")
    parser.add_argument("root", type=Path, help="the corpus' folder, as unpacked; one tar or a pattern does for tars")
    parser.add_argument("out", type=Path, help="where the manifests go")
    parser.add_argument("--limit", type=at_least(1, "--limit"), help="keep this many rows of each manifest")
    parser.add_argument("--split", nargs="+", metavar="NAME", help="only these splits, such as train or val")
    options = parser.parse_args(argv)
    if not glob.has_magic(str(options.root)):
        require_data(options.root)

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
        for line in _reasons(path) if path.name.endswith(".skipped.jsonl") else ():
            print(line)


def _reasons(path: Path) -> list[str]:
    """What a listing of items left out says, a line for each kind of reason."""
    from xmodal.data.tally import Tally

    tally = Tally()
    for _, row in read_json_lines(path):
        tally.leave_out(Path(row["item"]).name, row["reason"])
    return tally.lines()[1:]
