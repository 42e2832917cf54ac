"""Zero-shot spoken intents of a run.

    xmodal speech-intent runs/demo
    xmodal speech-intent runs/demo --test data/mine/test.jsonl --examples data/mine/examples.jsonl --out report
    xmodal speech-intent runs/demo --audio clip.wav --intent "turn on the lights" --intent "play some music"

The first form evaluates the spoken intents that the run's config names and writes RUN/report (RUN/speech_intent where
the config names other tests too); the second your own manifest; the third ranks intents typed on the spot for your own
recordings. Embeddings of the recordings are kept in RUN/embeddings.
"""

from pathlib import Path

from xmodal.commands.parsing import add_loading, add_max_bad, command_parser
from xmodal.commands.paths import require_data, require_model
from xmodal.errors import UserError


def main(argv: list[str]) -> None:
    """Parse the options and call the library."""
    parser = command_parser("speech-intent", __doc__)
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--test", type=Path, help="manifest with speech, text and label")
    parser.add_argument("--examples", type=Path, help="manifest of text and label: sentences behind the class means")
    parser.add_argument("--names", type=Path, help="JSON: label -> readable name")
    parser.add_argument("--prompts", help="template set or YAML file, in place of the run's (default: speech_intent)")
    parser.add_argument("--synthetic", action="store_true", help="the speech of --test is TTS")
    parser.add_argument("--trained", action="store_true", help="the intents of --test occur in training")
    add_max_bad(parser, None, "recordings")
    parser.add_argument(
        "--out",
        type=Path,
        help="report folder (default: RUN/report, RUN/speech_intent-TEST)",
    )
    parser.add_argument("--embeddings", type=Path, help="where embeddings are kept (default RUN/embeddings)")
    add_loading(parser)
    parser.add_argument("--audio", type=Path, action="append", help="a recording to understand; may be repeated")
    parser.add_argument("--intent", action="append", help="an intent to choose from; may be repeated")
    options = parser.parse_args(argv)
    for_test = (options.examples, options.names, options.synthetic or None, options.trained or None, options.max_bad)
    if options.test is None and any(value is not None for value in for_test):
        raise UserError("--examples, --names, --synthetic, --trained and --max-bad go with --test: the run has its own")
    if bool(options.audio) != bool(options.intent):
        raise UserError("--audio and --intent go together: what was said, and what it may mean")
    require_model(str(options.run))
    require_data(options.test, options.examples, options.names, *(options.audio or ()))

    from xmodal.commands.evaluate.model import load_for_evaluation, name_of
    from xmodal.commands.evaluate.report import evaluate_model
    from xmodal.evaluation.classification.speech_intent import SpeechIntent, rank_intents
    from xmodal.prompts import load_templates

    encoder, home, specs = load_for_evaluation(str(options.run), options)
    mine = {name: spec for name, spec in specs.items() if isinstance(spec, SpeechIntent.Spec)}
    if options.audio:
        templates = load_templates(options.prompts or "speech_intent")
        spoken = next(iter(mine.values()), None)
        speech, text = (spoken.speech, spoken.text) if spoken else ("speech", "text")
        rankings = rank_intents(encoder, options.audio, options.intent, templates, speech=speech, text=text)
        for clip, ranking in zip(options.audio, rankings, strict=True):
            print(clip)
            for intent, score in ranking:
                print(f"  {score:+.3f}  {intent}")
        return
    prompts = {"prompts": options.prompts} if options.prompts else {}
    label = f"-{Path(options.prompts).stem}" if options.prompts else ""
    if options.test:
        chosen = {"test": options.test, "examples": options.examples, "names": options.names, **prompts}
        chosen |= {} if options.max_bad is None else {"max_bad": options.max_bad}
        spec = SpeechIntent.Spec(**chosen, synthetic=options.synthetic, trained=options.trained)
        called = name_of(options.test)
        mine, name = {called: spec}, f"speech_intent-{called}{label}"
    elif not mine:
        raise UserError(f"{options.run}: its config names no speech_intent evaluators; give --test MANIFEST")
    else:
        name = "report" if mine == specs and not prompts else f"speech_intent{label}"
        mine = {called: spec.model_copy(update=prompts) for called, spec in mine.items()}
    report, out = evaluate_model(encoder, mine, home, options.out or home / name)
    print(report.to_text())
    print(f"report: {out / 'report.html'}")
