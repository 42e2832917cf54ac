"""Runs side by side over the same items and the same subsets of prompt templates.

Input: encoders and a test, read as zero-shot classification reads it. Output: a `Report`. Every prompt is embedded
once per run; the counting is in `robustness.py`, what the report shows in `robustness_tables.py`.

Axes: n items, T templates, C distinct class names, D embedding.
"""

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from xmodal.data.unusable import require_usable
from xmodal.encoding.encoder import Encoder
from xmodal.errors import UserError
from xmodal.evaluation.classification.zero_shot import ZeroShot
from xmodal.evaluation.robustness.perturbations import perturbed_sets
from xmodal.evaluation.robustness.robustness import measure
from xmodal.evaluation.robustness.robustness_tables import Question, write_up
from xmodal.evaluation.robustness.subsets import SUBSETS, mean_vectors
from xmodal.evaluation.runs.run_report import Tested, cut_notes, run_notes
from xmodal.prompts import fill
from xmodal.provenance import made_here
from xmodal.report.report import Report

SIZES = (1, 5, 10)  # templates averaged, where nobody says otherwise


def sizes_of(ks: Sequence[int] | None, templates: Sequence[str], prompts: str) -> tuple[int, ...]:
    """The sizes of subsets asked for; none: those of `SIZES` that the set called `prompts` is large enough for.

    Raises:
        UserError: no subset of that size can be drawn.
    """
    for k in ks or ():
        if k < 1:
            raise UserError(f"--k {k}: expected at least 1 template")
        if k > len(templates):
            raise UserError(
                f"--k {k}: more templates than the {len(templates)} of {prompts}; ask for fewer, or name a larger set"
            )
    return tuple(ks or [k for k in SIZES if k <= len(templates)])


def robustness_report(
    encoders: Mapping[str, Encoder],
    test: ZeroShot,
    name: str,
    ks: Sequence[int] | None = None,
    perturb: bool = True,
    most: int = SUBSETS,
    seed: int = 0,
) -> Report:
    """Encode, measure and report one or more runs.

    Args:
        encoders: name -> run.
        test: items, classes and templates.
        name: of the data set in the report.
        ks: sizes of subsets, see `sizes_of`; all T templates together are always added.
        perturb: score the reworded sets too: for a set of photo prompts seven times as many prompts to encode.
        most: subsets of one size.
        seed: of the subsets.

    Raises:
        UserError: several labels per item, a k that does not fit, too many items that are unreadable in any run, a
            modality that a run has not.

    Example:
        test = ZeroShot(ZeroShot.Spec(test="cifar10/test.parquet", prompts="cifar"))
        robustness_report({"cwcl": load("runs/cwcl")}, test, "cifar10").write(Path("report"))
    """
    spec, items = test.spec, test.test
    if items.several is not None:
        raise UserError(f"{spec.test}: several labels per item; robustness needs one, in a column 'label'")
    ks = sizes_of(ks, test.templates, spec.prompts)
    z, bad = {}, dict[int, str]()
    for run, encoder in encoders.items():
        part, kept, skipped = encoder.encode_readable(spec.items, items.sources, progress=f"{run}: {spec.items}")
        z[run] = torch.zeros(len(items), part.shape[1])
        z[run][kept] = part
        bad |= dict(skipped)
    require_usable(
        spec.test, len(items), [(str(items.names[row]), bad[row]) for row in sorted(bad)], spec.max_bad, "--max-bad"
    )
    rows = [row for row in range(len(items)) if row not in bad]
    question = Question(
        name,
        items.part(rows),
        test.classes,
        test.templates,
        spec,
        test.unseen(*encoders.values()),
        test.notes(name, sorted(bad.items()), *encoders.values()),
    )
    sets = perturbed_sets(test.templates) if perturb else {}
    found = {}
    for run, encoder in encoders.items():
        prompts = _Prompts(encoder, spec.text, question.names, run)
        embedded = prompts.embed(test.templates, keep=True)
        perturbed = {change: mean_vectors(prompts.embed(changed)) for change, changed in sets.items()}
        found[run] = measure(z[run][rows], embedded, question.answers(), ks, perturbed, most, seed)
    report = write_up(found, question)
    under_test = {name: Tested(spec.test, spec.items, test.files)}
    for run, encoder in encoders.items():
        of_run = [] if encoder.folder is None else run_notes(encoder.folder, encoder.provenance, under_test)
        notes = [*of_run, *cut_notes(encoder)]
        report.notes += [f"{run}: {note}" if len(encoders) > 1 else note for note in notes]
    report.provenance |= {
        "seed": seed,
        "runs": {run: encoder.provenance for run, encoder in encoders.items()},
        **made_here(),
    }
    return report


class _Prompts:
    """Prompts of one run; those of the original templates are kept, so a rewording encodes only what is new."""

    def __init__(self, encoder: Encoder, text: str, names: Sequence[str], run: str) -> None:
        self.encoder, self.text, self.names, self.run = encoder, text, names, run
        self.kept: dict[str, Tensor] = {}

    def embed(self, templates: Sequence[str], keep: bool = False) -> Tensor:
        """[T, C, D]; equal sentences are encoded once."""
        rows = [[fill([template], name)[0] for name in self.names] for template in templates]
        new = [s for s in dict.fromkeys(itertools.chain.from_iterable(rows)) if s not in self.kept]
        z, _, _ = self.encoder.encode_readable(self.text, new, progress=f"{self.run}: prompts")
        known = self.kept | dict(zip(new, z, strict=True))
        if keep:
            self.kept = known
        return torch.stack([torch.stack([known[sentence] for sentence in row]) for row in rows])
