"""Zero-shot spoken intents of a run.

    python eval/speech_intent.py runs/demo
    python eval/speech_intent.py runs/demo --test data/mine/test.jsonl --examples data/mine/examples.jsonl --out report
    python eval/speech_intent.py runs/demo --audio clip.wav --intent "turn on the lights" --intent "play some music"

The first form evaluates what the run's config names and writes RUN/report; the second your own manifest; the third
ranks intents typed on the spot for your own recordings.
"""

import argparse
import sys
from pathlib import Path

from xmodal.errors import UserError, run_script


def main(argv: list[str]) -> None:
    """Parse the options and call the library."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--test", type=Path, help="manifest with speech, text and label")
    parser.add_argument("--examples", type=Path, help="manifest of text and label: sentences behind the class means")
    parser.add_argument("--names", type=Path, help="JSON: label -> readable name")
    parser.add_argument("--prompts", help="template set or YAML file, in place of the run's (default: speech_intent)")
    parser.add_argument("--synthetic", action="store_true", help="the speech of --test is TTS")
    parser.add_argument("--trained", action="store_true", help="the intents of --test occur in training")
    parser.add_argument("--max-bad", type=float, help="share of unreadable recordings that --test may hold (0.01)")
    parser.add_argument(
        "--out",
        type=Path,
        help="report folder (default: RUN/report, RUN/report-prompts, RUN/report-TEST)",
    )
    parser.add_argument("--audio", type=Path, action="append", help="a recording to understand; may be repeated")
    parser.add_argument("--intent", action="append", help="an intent to choose from; may be repeated")
    options = parser.parse_args(argv)
    for_test = (options.examples, options.names, options.synthetic, options.trained, options.max_bad)
    if options.test is None and any(for_test):
        raise UserError("--examples, --names, --synthetic, --trained and --max-bad go with --test: the run has its own")
    if options.max_bad is not None and not 0 <= options.max_bad <= 1:
        raise UserError(f"--max-bad: found {options.max_bad:g}, expected a share between 0 and 1")
    if bool(options.audio) != bool(options.intent):
        raise UserError("--audio and --intent go together: what was said, and what it may mean")

    from xmodal import load
    from xmodal.config.evaluators import SpeechIntentEvaluator
    from xmodal.config.load import load_config
    from xmodal.evaluation.run_report import run_report
    from xmodal.evaluation.speech_intent import SpeechIntent, rank_intents
    from xmodal.prompts import load_templates

    encoder = load(options.run)
    config = load_config(options.run / "config.yaml")
    if options.audio:
        templates = load_templates(options.prompts or "speech_intent")
        specs = config.evaluators.values()
        named = next((spec for spec in specs if isinstance(spec, SpeechIntentEvaluator)), None)
        modalities = {"speech": named.speech, "text": named.text} if named else {}
        for clip, ranking in zip(
            options.audio, rank_intents(encoder, options.audio, options.intent, templates, **modalities), strict=True
        ):
            print(clip)
            for intent, score in ranking:
                print(f"  {score:+.3f}  {intent}")
        return
    if options.test:
        chosen = {"test": options.test, "examples": options.examples, "names": options.names}
        given = {"prompts": options.prompts, "max_bad": options.max_bad}
        chosen |= {name: value for name, value in given.items() if value is not None}
        spec = SpeechIntentEvaluator(**chosen, synthetic=options.synthetic, trained=options.trained)
        evaluators = {options.test.stem: SpeechIntent(spec)}
        out = options.out or options.run / f"report-{options.test.stem}"
    else:
        if not any(isinstance(spec, SpeechIntentEvaluator) for spec in config.evaluators.values()):
            raise UserError(f"{options.run}: its config names no speech_intent evaluators; give --test MANIFEST")
        prompts = {"prompts": options.prompts} if options.prompts else {}
        mine = {n: spec for n, spec in config.evaluators.items() if isinstance(spec, SpeechIntentEvaluator)}
        evaluators = {n: SpeechIntent(spec.model_copy(update=prompts)) for n, spec in mine.items()}
        out = options.out or options.run / ("report-prompts" if prompts else "report")
    report = run_report(options.run, encoder, evaluators, {})
    report.write(out)
    print(report.to_text())
    print(f"report: {out / 'report.html'}")


if __name__ == "__main__":
    sys.exit(run_script(main))
