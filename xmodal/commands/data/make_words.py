"""The most frequent words of a text tower's vocabulary as texts, to be voiced.

    xmodal make-words data/words.jsonl --count 4000
    xmodal synthesize data/words.jsonl data/words

Single words among the training texts teach a speech tower words that its sentences do not have, or never alone.
Writes a JSON line a word: id, text. Nothing is left out, the words of your tests neither; name those with --without.
"""

from pathlib import Path

from xmodal.commands.parsing import at_least, command_parser


def main(argv: list[str]) -> None:
    """Parse the command line and write the file."""
    parser = command_parser("make-words", __doc__)
    parser.add_argument("out", type=Path, metavar="OUT.jsonl")
    parser.add_argument("--guide", help="folder, name on the hub, package:NAME/FOLDER (default: MiniLM)")
    parser.add_argument("--count", type=at_least(1, "--count"), default=4000)
    parser.add_argument("--without", default="", metavar="WORD,WORD", help="words to leave out, the others move up")
    given = parser.parse_args(argv)

    from xmodal.files import write_json_lines
    from xmodal.synthesis.vocabulary import MINILM, words_of

    without = {word.strip().lower() for word in given.without.split(",")} - {""}
    words = [word for word in words_of(given.guide or MINILM, given.count + len(without)) if word not in without][
        : given.count
    ]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    write_json_lines(given.out, ({"id": f"word-{word}", "text": word} for word in words))
    print(f"{given.out}: {len(words):,} words, {words[0]} to {words[-1]}")
