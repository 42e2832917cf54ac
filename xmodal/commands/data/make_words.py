"""Words and short pieces as texts, to be voiced: what a speech tower should have heard alone.

    xmodal make-words data/words.jsonl --count 4000                     # the most frequent of the guide's vocabulary
    xmodal make-words data/pieces.jsonl --texts data/train.jsonl --count 6000    # words, two and three words of texts
    xmodal synthesize data/words.jsonl data/words

Sentences alone do not teach a speech tower to hear a word by itself. Writes a JSON line each: id, text. Nothing is left
out, the words of your tests neither; name those with --without.
"""

from pathlib import Path

from xmodal.commands.parsing import at_least, command_parser
from xmodal.commands.paths import require_data


def main(argv: list[str]) -> None:
    """Parse the command line and write the file."""
    parser = command_parser("make-words", __doc__)
    parser.add_argument("out", type=Path, metavar="OUT.jsonl")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--guide", help="folder, name on the hub, package:NAME/FOLDER (default: MiniLM)")
    source.add_argument("--texts", type=Path, nargs="+", help="manifests with a column text, in place of a vocabulary")
    parser.add_argument("--count", type=at_least(1, "--count"), default=4000)
    parser.add_argument("--without", default="", metavar="WORD,...", help="texts to leave out, others take their place")
    parser.add_argument("--seed", type=int, default=0, help="of the pieces that are drawn")
    given = parser.parse_args(argv)
    for path in given.texts or ():
        require_data(path)

    from xmodal.data.manifest import read_manifest
    from xmodal.errors import UserError
    from xmodal.files import write_json_lines
    from xmodal.synthesis.pieces import pieces_of
    from xmodal.synthesis.vocabulary import MINILM, words_of

    without = {word.strip().lower() for word in given.without.split(",")} - {""}
    if given.texts:
        texts = [text for path in given.texts for text in read_manifest(path, ["text"])["text"]]
        found = pieces_of(texts, given.count + len(without), given.seed)
    else:
        found = words_of(given.guide or MINILM, given.count + len(without))
    kept = [text for text in found if text not in without][: given.count]
    if not kept:
        raise UserError(f"{given.out}: no word is left to write; name texts with more words, or fewer --without")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    write_json_lines(given.out, ({"id": text.replace(" ", "_"), "text": text} for text in kept))
    fewer = f" ({given.count:,} were asked for; there are no more)" if len(kept) < given.count else ""
    print(f"{given.out}: {len(kept):,} texts, {kept[0]!r} to {kept[-1]!r}{fewer}")
