"""What can be read off a model's embeddings: linear probe, kNN, few-shot, and diagnostics of the space.

    python eval/probe.py runs/cifar --train data/cifar10/train.parquet --test data/cifar10/test.parquet
    python eval/probe.py runs/demo --test data/demo/test.jsonl --items speech --what diagnostics

Needs columns of items and `label`; the diagnostics of two modalities, texts beside the items. Writes report.md,
report.html, report.json to --out. Embeddings of the items are kept in MODEL/embeddings, as by eval/zero_shot.py.
"""

import argparse
import sys
from pathlib import Path

from xmodal.errors import UserError, run_script

WHAT = ("linear", "knn", "few_shot", "diagnostics")


def main(argv: list[str]) -> None:
    """Parse the options and call the library."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="run folder, open_clip:NAME[@PRETRAINED] or transformers:NAME_OR_FOLDER")
    parser.add_argument("--train", type=Path, help="items and labels the probes learn from")
    parser.add_argument("--test", type=Path, required=True, help="items and labels they are tested on")
    parser.add_argument("--items", default="image", help="modality of the items, and their column (image)")
    parser.add_argument("--text", default="text", help="the other modality of the diagnostics, and its column (text)")
    parser.add_argument("--what", nargs="+", choices=WHAT, default=WHAT, help="default: all of them")
    parser.add_argument("--k", type=int, help="neighbours of kNN (default: chosen on a part of --train)")
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 4, 16], help="examples per class (1 4 16)")
    parser.add_argument("--group", help="column of items that belong together, such as speaker")
    parser.add_argument("--max-bad", type=float, default=0.01, help="share of items that may be unreadable (0.01)")
    parser.add_argument("--embeddings", type=Path, help="where embeddings are kept (default RUN/embeddings)")
    parser.add_argument("--dtype", choices=["fp32", "bf16", "fp16"], default="fp32", help="what the model runs in")
    parser.add_argument("--out", type=Path, help="report folder (default: RUN/probe-TEST)")
    options = parser.parse_args(argv)
    if not 0 <= options.max_bad <= 1:
        raise UserError(f"--max-bad: found {options.max_bad:g}, expected a share between 0 and 1")

    from xmodal.commands.from_scripts import load_for_evaluation, name_of, require_writable
    from xmodal.evaluation.probes.probe_report import ProbePlan, probe_report

    plan = ProbePlan(
        test=options.test,
        train=options.train,
        modality=options.items,
        text=options.text,
        what=tuple(options.what),
        k=options.k,
        shots=tuple(options.shots),
        group=options.group,
        max_bad=options.max_bad,
    )
    encoder, home, _ = load_for_evaluation(options.model, options.dtype, options.embeddings)
    out = options.out or home / f"probe-{name_of(options.test)}"
    require_writable(out)
    report = probe_report(encoder, plan)
    report.write(out)
    print(report.to_text())
    print(f"report: {out / 'report.html'}")


if __name__ == "__main__":
    sys.exit(run_script(main))
