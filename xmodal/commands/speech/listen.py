"""Listen to a microphone, a file or standard input, and say what is meant, piece by piece.

    xmodal listen runs/cafe                          # the microphone (pip install 'xmodal[listen]'), until Ctrl-C
    xmodal listen runs/cafe talk.flac
    arecord -t raw -f S16_LE -r 16000 | xmodal listen runs/cafe - --rate 16000
    xmodal listen runs/demo talk.wav --intent "lights=turn on the lights,lamp on" --intent "music=play a song"
    xmodal listen runs/cafe talk.wav --labels size=small,large --json

A run of xmodal teach knows its intents and slots; other runs take --phrases or --intent. The sound is cut where it is
quiet for half a second; each piece gets its best intent, the score (a cosine), how far the next intent is, and the
values of its slots; under the threshold it is none of these. Standard output holds nothing but the pieces, so two runs
over one file print the same; what it took goes to standard error.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from xmodal.commands.parsing import at_least, command_parser, label_sets
from xmodal.commands.paths import require_model
from xmodal.errors import UserError, no_such_file

if TYPE_CHECKING:
    from xmodal.encoding.encoder import Encoder
    from xmodal.listening.sources import Source
    from xmodal.listening.understanding import Understanding


def main(argv: list[str]) -> None:
    """Parse the options, then listen."""
    options = _parser().parse_args(argv)
    require_model(str(options.run))
    typed, labels = _told(options)

    from xmodal.encoding.loading import load
    from xmodal.listening.listening import Listener

    source = _source(options)
    encoder = load(options.run, trust_remote_code=options.trust_remote_code)
    speech, text = _sides(encoder, options.run)
    understanding = _understanding(encoder, text, options, typed, labels)
    threshold = options.threshold
    if threshold is None and not typed and not options.phrases:
        threshold = _threshold_of(encoder.folder or options.run)
    listener = Listener(encoder, speech, understanding, threshold)
    try:
        for heard in listener.listen(source):
            print(json.dumps(heard.row(), ensure_ascii=False) if options.json else heard.line(), flush=True)
    except KeyboardInterrupt:
        if options.file is not None:
            raise
    for line in [*source.notes, *listener.summary()]:
        print(line, file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("listen", __doc__)
    parser.add_argument("run", type=Path, help="run folder, or hf-hub:OWNER/NAME[@REVISION]")
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help="a sound file, or - for raw samples; default: microphone"
    )
    parser.add_argument("--intent", action="append", default=[], metavar="NAME=PHRASE,...", help="an intent to know")
    parser.add_argument("--phrases", type=Path, help="a file of intents with phrases, in place of the run's")
    parser.add_argument(
        "--labels",
        action="append",
        metavar="SLOT=VALUE,...",
        help="labels of a further kind to choose among",
    )
    parser.add_argument("--threshold", type=_finite, help="a best score under it is none of these; default: the run's")
    parser.add_argument(
        "--rate", type=at_least(1, "--rate"), default=16_000, help="Hz, of - and the microphone (16000)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--trust-remote-code", action="store_true", help="run code from outside xmodal that the run needs"
    )
    return parser


def _told(options: argparse.Namespace) -> tuple[list[tuple[str, list[str]]], dict[str, tuple[str, ...]]]:
    """The typed intents with their phrases, and the typed labels by slot.

    Raises:
        UserError: of any option, before a model is loaded.
    """
    if options.intent and options.phrases:
        raise UserError("--intent and --phrases: both say what may be meant; give one of them")
    typed = [_named(each) for each in options.intent]
    labels = label_sets(options.labels) or {}
    if options.file not in (None, "-") and not Path(options.file).exists():
        raise no_such_file(Path(options.file))
    if options.phrases:
        from xmodal.synthesis.phrases import read_phrases

        read_phrases(options.phrases)  # its mistakes are told at once
    return typed, labels


def _source(options: argparse.Namespace) -> "Source":
    from xmodal.listening.sources import from_file, from_microphone, from_stream

    if options.file is None:
        return from_microphone(options.rate)
    if options.file == "-":
        return from_stream(sys.stdin.buffer, options.rate)
    return from_file(Path(options.file))


def _finite(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise UserError(f"--threshold: found {text}, expected a cosine, such as 0.3")
    return found


def _named(typed: str) -> tuple[str, list[str]]:
    """NAME=A,B as a name and its phrases; a bare text is its own name."""
    name, equals, listed = typed.partition("=")
    phrases = [phrase.strip() for phrase in (listed if equals else name).split(",")]
    if not name.strip() or not all(phrases):
        raise UserError(
            f'--intent: found {typed!r}, expected a name and phrases, as --intent "lights=turn on the lights,lamp on"'
        )
    return name.strip(), phrases


def _sides(encoder: "Encoder", run: Path) -> tuple[str, str]:
    kinds = encoder.kinds
    speech = [side for side, kind in kinds.items() if kind == "audio"]
    text = [side for side, kind in kinds.items() if kind == "text"]
    if not speech or not text:
        found = ", ".join(f"{side} ({kind})" for side, kind in kinds.items())
        raise UserError(f"{run}: encodes {found}; listening needs a side of audio and one of text")
    return speech[0], text[0]


def _understanding(
    encoder: "Encoder",
    text: str,
    options: argparse.Namespace,
    typed: list[tuple[str, list[str]]],
    labels: dict[str, tuple[str, ...]],
) -> "Understanding":
    """What may be meant: typed, out of a file, or the run's own; with the labels that were typed."""
    from xmodal.evaluation.classification.class_vectors import class_vectors
    from xmodal.listening.understanding import LabelSet, Slot, Understanding, read_understanding, understanding_of

    if typed:
        names = [name for name, _ in typed]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise UserError(f"--intent: {twice} is named twice; give all its phrases at once, as {twice}=one,another")
        of: dict[str, str] = {}
        for name, listed in typed:
            for phrase in listed:
                other = of.setdefault(phrase.lower(), name)
                if other != name:
                    raise UserError(f"--intent: {phrase!r} is a phrase of {other} and of {name}; take it out of one")
        rows = [{"text": phrase.lower(), "slot": None, "of": name} for name, phrases in typed for phrase in phrases]
        found = understanding_of(encoder, text, rows)
    elif options.phrases:
        from xmodal.synthesis.phrases import read_phrases
        from xmodal.teaching.held_out import hold_out
        from xmodal.teaching.sentences import set_examples

        phrases = read_phrases(options.phrases)
        found = understanding_of(encoder, text, set_examples(phrases, hold_out(phrases, share=0), 0))
    else:
        found = read_understanding(encoder, text, encoder.folder or options.run)
    chosen = dict(found.slots)
    for slot, values in labels.items():
        known = chosen.get(slot)
        if known is not None and set(values) <= set(known.values.labels):
            chosen[slot] = Slot(known.values.only(values), known.intents, known.absent)
        else:
            vectors = class_vectors(encoder, text, [[value.lower()] for value in values])
            chosen[slot] = Slot(LabelSet(tuple(values), vectors), None)
    return Understanding(found.intents, {slot: chosen[slot] for slot in labels} if labels else chosen)


def _threshold_of(run: Path) -> float | None:
    """What teaching found on its dev split; None where the run was not taught."""
    path = run / "threshold.json"
    if not path.is_file():
        return None
    try:
        return _finite(str(json.loads(path.read_text(encoding="utf-8"))["threshold"]))
    except (UserError, ValueError, KeyError, TypeError):
        raise UserError(f"{path}: not a threshold; give --threshold, or teach the run again") from None
