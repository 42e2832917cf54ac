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

from pathlib import Path

from xmodal.commands.parsing import add_cascade, add_loading, add_max_bad, command_parser, label_sets
from xmodal.commands.paths import require_data, require_model
from xmodal.errors import UserError


def main(argv: list[str]) -> None:
    """Parse the options and call the library."""
    parser = command_parser("speech-intent", __doc__)
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--test", type=Path, help="manifest with speech, text and label")
    parser.add_argument("--examples", type=Path, help="manifest of text and label: sentences behind the class means")
    parser.add_argument("--label", help="column of the intents, in both (default: label)")
    parser.add_argument("--cluster", help="column resampled together (default: speaker where there is one; sentence)")
    parser.add_argument("--names", type=Path, help="JSON: label -> readable name")
    parser.add_argument("--prompts", help="template set or YAML file, in place of the run's (default: speech_intent)")
    parser.add_argument("--synthetic", action="store_true", help="the speech of --test is TTS")
    parser.add_argument("--trained", action="store_true", help="the intents of --test occur in training")
    add_cascade(parser)
    parser.add_argument("--dev", type=Path, help="like --test: chooses the threshold of what is none of the intents")
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
    parser.add_argument("--labels", action="append", metavar="SET=VALUE,VALUE", help="a label set; may be repeated")
    options = parser.parse_args(argv)
    typed = {"intent": tuple(options.intent)} if options.intent else label_sets(options.labels)
    for_test = (
        options.examples, options.names, options.synthetic or None, options.trained or None, options.max_bad,
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
    require_model(str(options.run))
    require_data(options.test, options.examples, options.names, options.dev, *(options.audio or ()))

    from xmodal.commands.evaluate.model import load_for_evaluation, name_of, spec_of_options
    from xmodal.commands.evaluate.report import evaluate_model
    from xmodal.evaluation.classification.speech_intent import SpeechIntent
    from xmodal.evaluation.classification.typed_intents import rank_intents
    from xmodal.prompts import load_templates

    encoder, home, specs = load_for_evaluation(str(options.run), options)
    mine = {name: spec for name, spec in specs.items() if isinstance(spec, SpeechIntent.Spec)}
    if options.audio:
        templates = load_templates(options.prompts or "speech_intent")
        spoken = next(iter(mine.values()), None)
        speech, text = (spoken.speech, spoken.text) if spoken else ("speech", "text")
        rankings = {
            called: rank_intents(encoder, options.audio, values, templates, speech=speech, text=text)
            for called, values in (typed or {}).items()
        }
        for at, clip in enumerate(options.audio):
            print(clip)
            for called, ranking in rankings.items():
                if options.labels:
                    print(f"  {called}")
                for intent, score in ranking[at]:
                    print(f"  {score:+.3f}  {intent}")
        return
    prompts = {"prompts": options.prompts} if options.prompts else {}
    prompts |= {"cascade": options.cascade} if options.cascade else {}
    label = f"-{Path(options.prompts).stem}" if options.prompts else ""
    if options.test:
        chosen = {"test": options.test, "examples": options.examples, "names": options.names, **prompts}
        chosen |= {name: getattr(options, name) for name in ("max_bad", "dev", "label", "cluster")}
        spec = spec_of_options(SpeechIntent.Spec, **chosen, synthetic=options.synthetic, trained=options.trained)
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
