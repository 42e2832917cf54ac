"""Teach: voice the phrases, train on them, say what was learned and how sure that is.

Input: a `Lesson`. Output: a run folder as any other, with `phrases.yaml`, `examples.jsonl`, `sets.jsonl`, `names.json`,
`threshold.json`, the data in `data/`, and a report. Killed, it goes on where it was: voicing, stores and training all
keep what is done.
"""

import re
from dataclasses import replace

from xmodal.files import write_json
from xmodal.report.report import Report
from xmodal.synthesis.manner import HELD_OUT_VOICES, TRAINING_VOICES
from xmodal.teaching.corpus import Corpus, write_corpus
from xmodal.teaching.request import OPEN, Lesson, begin
from xmodal.training.trainer import Trainer

SHOWN = 8  # held-out phrases in a note
TOLD = "taught: "  # how the first note begins


def teach(lesson: Lesson, processes: int | None = None) -> Report | None:
    """Make the data, train, choose the threshold; returns the report (on the main process).

    Args:
        lesson: what is to be taught.
        processes: that voice; default: one per core.

    Raises:
        UserError: what voicing, stores or training raise.
    """
    run = lesson.run
    begin(lesson)
    write_json(run / "names.json", dict(lesson.phrases.names))
    corpus = write_corpus(lesson, processes)
    report = Trainer(lesson.config).fit()
    if report is None or any(note.startswith(TOLD) for note in report.notes):
        return report  # another process's; or done before
    write_threshold(lesson, report)
    report.notes = [*notes_of(lesson, corpus), *report.notes]
    report.write(run / "report")
    return report


def headline(report: Report) -> Report:
    """What a person asks first: by means, each test's label sets beside their oracle, and "none of these"."""
    others = re.compile(r"_prompt|_among_test|of_oracle|_all$|_all_")
    asked = {f"{OPEN}/{name}" for name in ("auroc_mean", "rejected_known_mean", "accepted_none_mean")}
    shown = [
        record
        for record in report.records
        if (record.name in asked if record.dataset == OPEN else not others.search(record.metric))
    ]
    return replace(report, records=shown)


def write_threshold(lesson: Lesson, report: Report) -> None:
    """Keep what was chosen on the dev split where `xmodal listen` looks for it; nothing where nothing was held out."""
    for record in report.records:
        if record.name == f"{OPEN}/accuracy_open_mean":
            chosen = {"threshold": record.context["threshold"], "chosen_on": record.context["threshold_from"]}
            write_json(lesson.run / "threshold.json", chosen)


def notes_of(lesson: Lesson, corpus: Corpus) -> list[str]:
    """What a reader must know first: what was heard in training, what was not, and that TTS is TTS."""
    held, rows, plan, said = lesson.held, corpus.rows, lesson.plan, lesson.said
    mine, human = len(lesson.recordings.train), len(lesson.human)
    whose = f" ({', '.join(lesson.typed.human)})" if human else ""
    notes = [
        f"{TOLD}{rows['taught']:,} recordings of {len(said.train):,} sentences and {rows['background']:,} of home "
        f"commands and single words as a background, in TTS (espeak-ng, {len(TRAINING_VOICES)} voices); {mine:,} "
        f"recordings of yours, {human:,} of other human speech{whose}; {plan.steps} steps."
    ]
    if held.tested:
        shown = ", ".join(repr(phrase.written) for phrase in held.tested[:SHOWN])
        intents = len({phrase.intent for phrase in held.tested})
        notes.append(
            f"held out: {len(held.tested)} of {len(lesson.phrases.phrases)} phrases, of {intents} intents, which "
            f"training never hears in any filling ({shown}{', ...' if len(held.tested) > SHOWN else ''}), and the "
            f"voices {' and '.join(HELD_OUT_VOICES)}."
        )
        notes.append(
            f"{OPEN}: what is none of the intents here is everyday sentences in TTS, not what your users will say."
        )
    else:
        notes.append("no phrase is held out: nothing says how new phrases do, and `none of these` has no threshold.")
    if held.whole and held.tested:
        notes.append(
            f"not held out: {', '.join(held.whole)}: fewer than four phrases, or a slot that no other phrase has; they "
            "are tested on known phrases in unknown voices alone."
        )
    if said.left_out:
        notes.append(f"{said.left_out} training sentences were left out: a held-out phrase can say them too.")
    if lesson.phrases.warnings:
        notes.append(f"{len(lesson.phrases.warnings)} slots that no phrase uses are left out.")
    if not rows["recordings"]:
        notes.append(
            "no human speech of these phrases was tested: every number here is of TTS; for people's, give recordings "
            "(--recordings, split test)."
        )
    return notes
