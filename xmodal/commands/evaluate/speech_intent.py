"""Zero-shot spoken intents of a run.

    xmodal speech-intent runs/demo
    xmodal speech-intent runs/demo --test data/mine/test.jsonl --examples data/mine/examples.jsonl --out report
    xmodal speech-intent runs/demo --test data/mine/test.jsonl --cascade openai/whisper-tiny.en
    xmodal speech-intent runs/demo --audio clip.wav --intent "turn on the lights" --intent "play some music"
    xmodal speech-intent runs/demo --audio clip.wav --labels size=small,medium,large --labels drink=latte,mocha

The first form evaluates the spoken intents that the run's config names and writes RUN/report (RUN/speech_intent where
the config names other tests too); the second your own manifest; the last two rank intents, or the values of
several label sets, typed on the spot for your own recordings. A cascade is a recogniser whose transcripts are scored
beside the speech. With --dev recordings without a label are "none of these", by a threshold that is chosen there.
Embeddings of the recordings are kept in RUN/embeddings.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from xmodal.commands.parsing import add_cascade, add_max_bad, add_report, add_trained, command_parser, label_sets
from xmodal.commands.paths import require_data, require_model
from xmodal.errors import UserError

if TYPE_CHECKING:
    from xmodal.encoding.encoder import Encoder
    from xmodal.evaluation.classification.speech_intent import SpeechIntent

Typed = dict[str, tuple[str, ...]]  # what the choice is called -> what there is to choose from


def main(argv: list[str]) -> None:
    """Parse the options and call the library."""
    options = _parser().parse_args(argv)
    typed: Typed = {"intent": tuple(options.intent)} if options.intent else label_sets(options.labels) or {}
    _require_consistent(options, typed)
    require_model(str(options.run))
    require_data(options.test, options.examples, options.names, options.dev, *(options.audio or ()))

    from xmodal.commands.evaluate.model import load_for_evaluation, name_of
    from xmodal.commands.evaluate.report import evaluate_and_print
    from xmodal.evaluation.classification.speech_intent import SpeechIntent

    encoder, home, named = load_for_evaluation(str(options.run), options)
    specs = {name: spec for name, spec in named.items() if isinstance(spec, SpeechIntent.Spec)}
    if options.audio:
        _print_rankings(encoder, options, typed, next(iter(specs.values()), None))
        return
    changes = {name: getattr(options, name) for name in ("prompts", "cascade") if getattr(options, name)}
    suffix = f"-{Path(options.prompts).stem}" if options.prompts else ""
    if options.test:
        called = name_of(options.test)
        specs, name = {called: _spec(options, changes)}, f"speech_intent-{called}{suffix}"
    elif not specs:
        raise UserError(f"{options.run}: its config names no speech_intent evaluators; give --test MANIFEST")
    else:
        name = "report" if specs == named and not changes else f"speech_intent{suffix}"
        specs = {called: spec.model_copy(update=changes) for called, spec in specs.items()}
    evaluate_and_print(encoder, specs, home, options.out or home / name)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("speech-intent", __doc__)
    parser.add_argument("run", type=Path, help="run folder, or hf-hub:OWNER/NAME[@REVISION]")
    parser.add_argument("--test", type=Path, help="manifest with speech, text and label")
    parser.add_argument("--examples", type=Path, help="manifest of text and label: sentences behind the class means")
    parser.add_argument("--label", help="column of the intents, in both (default: label)")
    parser.add_argument("--cluster", help="column resampled together (default: speaker where there is one; sentence)")
    parser.add_argument("--names", type=Path, help="JSON: label -> readable name")
    parser.add_argument("--prompts", help="template set or YAML file, in place of the run's (default: speech_intent)")
    parser.add_argument("--synthetic", action="store_true", help="the speech of --test is TTS")
    add_trained(parser, "intents of --test")
    add_cascade(parser)
    parser.add_argument("--dev", type=Path, help="like --test: chooses the threshold of what is none of the intents")
    add_max_bad(parser, None, "recordings")
    add_report(parser, "RUN/report, RUN/speech_intent-TEST")
    parser.add_argument("--audio", type=Path, action="append", help="a recording to understand; may be repeated")
    parser.add_argument("--intent", action="append", help="an intent to choose from; may be repeated")
    parser.add_argument("--labels", action="append", metavar="SET=VALUE,VALUE", help="a label set; may be repeated")
    return parser


def _require_consistent(options: argparse.Namespace, typed: Typed) -> None:
    """Raise `UserError` for options that do not go together."""
    for_test = (
        options.examples, options.names, options.synthetic or None, options.trained, options.max_bad,
        options.dev, options.label, options.cluster,
    )  # fmt: skip
    if options.test is None and any(value is not None for value in for_test):
        raise UserError(
            "--examples, --label, --cluster, --names, --synthetic, --trained, --dev and --max-bad go with --test: the "
            "run has its own"
        )
    if bool(options.audio) != bool(typed):
        raise UserError("--audio and --intent go together (or --labels): what was said, and what it may mean")
    if options.intent and options.labels:
        raise UserError("--intent and --labels: give one of them")


def _spec(options: argparse.Namespace, changes: dict[str, str]) -> SpeechIntent.Spec:
    """The evaluator of --test."""
    from xmodal.commands.evaluate.model import spec_of_options
    from xmodal.evaluation.classification.speech_intent import SpeechIntent

    settings = ("test", "examples", "names", "max_bad", "dev", "label", "cluster", "synthetic", "trained")
    return spec_of_options(SpeechIntent.Spec, **{name: getattr(options, name) for name in settings}, **changes)


def _print_rankings(
    encoder: Encoder, options: argparse.Namespace, typed: Typed, spec: SpeechIntent.Spec | None
) -> None:
    """What each recording may mean, the best first; `spec` says which sides are speech and text."""
    from xmodal.evaluation.classification.typed_intents import rank_intents
    from xmodal.prompts import load_templates

    templates = load_templates(options.prompts or "speech_intent")
    speech, text = (spec.speech, spec.text) if spec else ("speech", "text")
    rankings = {
        called: rank_intents(encoder, options.audio, values, templates, speech=speech, text=text)
        for called, values in typed.items()
    }
    for at, clip in enumerate(options.audio):
        print(clip)
        for called, ranking in rankings.items():
            if options.labels:
                print(f"  {called}")
            for intent, score in ranking[at]:
                print(f"  {score:+.3f}  {intent}")
