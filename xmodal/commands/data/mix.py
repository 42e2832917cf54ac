"""One manifest out of several: synthetic speech, words, sentences that people read.

    xmodal mix data/mix.jsonl data/tts/manifest.jsonl data/words/manifest.jsonl data/speechocean/train.jsonl
    xmodal mix data/mix.jsonl data/tts/manifest.jsonl people.jsonl people.jsonl --lower    # people twice

Rows keep their columns; the number of the manifest is put before the id, and paths start from OUT's folder. Recordings
are not copied. A manifest that is named twice counts twice.
"""

from collections import Counter
from pathlib import Path

from xmodal.commands.parsing import command_parser
from xmodal.commands.paths import require_data


def main(argv: list[str]) -> None:
    """Parse the command line and write the manifest."""
    parser = command_parser("mix", __doc__)
    parser.add_argument("out", type=Path, metavar="OUT.jsonl")
    parser.add_argument("manifests", type=Path, nargs="+", metavar="MANIFEST")
    parser.add_argument("--lower", action="store_true", help="texts in lower case: one text in two spellings is two")
    given = parser.parse_args(argv)
    for manifest in given.manifests:
        require_data(manifest)

    from xmodal.data.mix import mixed
    from xmodal.errors import UserError
    from xmodal.files import write_json_lines

    if given.out.resolve() in {manifest.resolve() for manifest in given.manifests}:
        raise UserError(f"{given.out}: is one of the manifests to mix; name another file to write")
    rows = mixed(given.manifests, given.out.parent, given.lower)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    write_json_lines(given.out, rows)
    count = Counter(row["id"].split("-", 1)[0] for row in rows)
    print(f"{given.out}: {len(rows):,} rows")
    for number, manifest in enumerate(given.manifests, start=1):
        print(f"  {count[str(number)]:,} of {manifest}")
