"""Prompt robustness: against a loop over subsets in plain torch, hand-made answers, and enumeration by hand.

Over 300 lines: numbers, words and report are checked on one set of drawn answers.
"""

import importlib.util
import itertools
import json
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from xmodal.corpora.class_subsets import load_subset
from xmodal.encoding.encoder import Encoder
from xmodal.errors import UserError, run_script
from xmodal.evaluation.classification.zero_shot import ZeroShot
from xmodal.evaluation.robustness import robustness, subsets
from xmodal.evaluation.robustness.perturbations import perturbed_sets
from xmodal.evaluation.robustness.robustness import measure
from xmodal.evaluation.robustness.robustness_report import robustness_report, sizes_of
from xmodal.evaluation.robustness.subsets import draw_subsets, subset_answers
from xmodal.evaluation.statistics.metrics import paired_interval
from xmodal.evaluation.test_sets.imagenet_names import imagenet_classes
from xmodal.prompts import load_templates
from xmodal.report.report import read_report

ROOT = Path(__file__).parents[3]

# --------------------------------------------------------------------------------------------------------- arithmetic


def test_two_classes_by_hand():
    """Templates 0 and 2 name the classes rightly, 1 swaps them; 0 and 1 together make a tie, which the first wins."""
    right, swapped = torch.eye(2), torch.eye(2).flip(0)
    found = measure(torch.eye(2), torch.stack([right, swapped, right]), np.array([0, 1]), ks=(1, 2))
    assert found.ks == (1, 2, 3)
    assert found.single.tolist() == [1, 0, 1]
    assert found.sensitivity == pytest.approx(np.sqrt(2) / 3)
    assert found.subsets[2].tolist() == [[0, 1], [0, 2], [1, 2]]
    assert found.hits[2].tolist() == [[True, True, True], [False, True, False]]
    assert found.item_means(2).tolist() == pytest.approx([1, 1 / 3])
    two = found.spread(2)
    assert (two.subsets, two.best, two.best_accuracy, two.worst, two.worst_accuracy) == (3, (0, 2), 1, (0, 1), 0.5)
    assert (two.mean, two.sd) == pytest.approx((2 / 3, np.std([0.5, 1, 0.5])))
    assert (two.low, two.high) == pytest.approx((0.5, 0.95))  # of 0.5, 0.5, 1: 5% and 95% between the order statistics
    assert found.spread(3).mean == 1
    assert found.enough() == 3
    assert found.enough(2 / 3) == 1


def test_every_subset_equals_a_loop(monkeypatch):
    monkeypatch.setattr(subsets, "_TABLE", 300)  # several blocks of items
    torch.manual_seed(0)
    templates, classes, width, items = 7, 11, 16, 90
    prompts = torch.randn(templates, classes, width) * torch.rand(templates, classes, 1) + torch.randn(classes, width)
    z, labels = torch.randn(items, width), np.arange(items) % classes
    labels[:5] = -1
    other = torch.randn(classes, width)
    threads = torch.get_num_threads()
    found = measure(z, prompts, labels, (2, 5), {"other": other})
    assert torch.get_num_threads() == threads
    assert sorted(found.hits) == [1, 2, 5, 7]
    for k, drawn in found.subsets.items():
        assert [tuple(s) for s in drawn.tolist()] == list(itertools.combinations(range(templates), k))
        for column, subset in enumerate(drawn.tolist()):
            vectors = normalize(torch.stack([normalize(prompts[t], dim=-1) for t in subset]).mean(0), dim=-1)
            best = (z @ vectors.T).argmax(1).numpy()
            np.testing.assert_array_equal(found.hits[k][:, column], best == labels)
    np.testing.assert_array_equal(found.perturbed["other"], (z @ other.T).argmax(1).numpy() == labels)
    assert not found.hits[1][:5].any()


def test_one_template_is_a_set_too():
    found = measure(torch.eye(3), torch.eye(3)[None], np.array([0, 1, 1]), ks=(1,))
    assert found.ks == (1,)
    assert found.spread(1).mean == pytest.approx(2 / 3)


def test_subsets_are_distinct_seeded_and_enumerated_where_few():
    assert draw_subsets(18, 2).tolist() == [list(c) for c in itertools.combinations(range(18), 2)]  # 153
    drawn = draw_subsets(18, 5)
    assert drawn.shape == (200, 5)
    assert len({tuple(row) for row in drawn.tolist()}) == 200
    assert (np.diff(drawn, axis=1) > 0).all()
    assert drawn.min() >= 0
    assert drawn.max() < 18
    np.testing.assert_array_equal(drawn, draw_subsets(18, 5))
    assert drawn.tolist() != draw_subsets(18, 5, seed=1).tolist()
    uses = np.bincount(draw_subsets(18, 5, 2000).ravel(), minlength=18) / 2000
    assert uses == pytest.approx(5 / 18, abs=0.05)  # 5 standard errors
    assert len(draw_subsets(21, 2)) == 200  # of 210: nearly all of them
    assert len(draw_subsets(300, 1)) == 300  # single templates are all ranked
    for k in (0, 4):
        with pytest.raises(ValueError, match=f"k = {k}: expected 1 to 3"):
            draw_subsets(3, k)


def test_shapes_and_nan_are_refused():
    z, prompts = torch.randn(4, 3), torch.randn(2, 5, 3)
    with pytest.raises(ValueError, match=r"z \(4, 3\), prompts \(2, 5, 2\), labels \(4,\): expected"):
        measure(z, prompts[..., :2], np.zeros(4, int), (1,))
    prompts[1, 2, 0] = torch.nan
    with pytest.raises(ValueError, match="4 of 4 rows have a NaN"):
        measure(z, prompts, np.zeros(4, int), (1,))


def test_threads_are_given_back_after_an_error():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError):  # widths that do not fit, found in the pool
            subset_answers(torch.randn(4, 3), torch.randn(2, 5, 8), np.ones((1, 2), dtype=np.float32))
        with ThreadPoolExecutor(1) as later:  # a thread made afterwards starts with what was set last
            assert later.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(threads)


def test_interval_of_k_near_the_peak_by_enumeration():
    """Six items, two template sets: alone each gets its own half right (so k = 1 has 1/2), together all but one."""
    alone = np.array([[1, 0], [1, 0], [1, 0], [0, 1], [1, 1], [1, 1]], dtype=bool)
    whole = np.array([1, 1, 1, 1, 1, 0], dtype=bool)[:, None]
    none = subsets.Answers(np.zeros(6, int), np.zeros(6), 0)
    found = robustness.Robustness(
        (1, 2), {1: np.array([[0], [1]]), 2: np.array([[0, 1]])}, {1: alone, 2: whole}, none, {}
    )
    assert found.enough() == 2
    means = np.stack([alone.mean(1), whole.mean(1)], axis=1)
    ks = []
    for drawn in itertools.product(range(6), repeat=6):
        one, two = means[list(drawn)].mean(0)
        ks.append(1 if one >= 0.99 * max(one, two) else 2)
    assert 0.01 < np.mean(np.array(ks) == 1) < 0.5  # often enough to be within the limits
    assert found.enough_interval() == (1, 2)
    assert np.isnan(found.enough_interval([0, 0, 1, 1, 2, 2])).all()


# ------------------------------------------------------------------------------------------------- words and classes


def test_open_clip_templates_and_names():
    assert (len(set(load_templates("imagenet80"))), len(set(load_templates("imagenet7")))) == (80, 7)
    assert load_templates("imagenet80")[:1] == ["a bad photo of a {c}."]
    names = imagenet_classes()
    assert (len(names), len(set(names.values()))) == (1000, 998)
    # spot checks of WordNet ids known from elsewhere: the order of two packages agrees
    expected = {"n01440764": "tench", "n02123045": "tabby cat", "n03594945": "jeep", "n15075141": "toilet paper"}
    assert {wnid: names[wnid].lower() for wnid in expected} == expected


def test_class_subsets(tmp_path):
    everything = load_subset("imagenet").labels
    assert everything == sorted(everything) == load_subset("imagenet_v2").labels
    for name in ("imagenet_r", "imagenet_a"):
        subset = load_subset(name)
        assert len(set(subset.labels)) == 200
        assert set(subset.labels) < set(everything)
        assert subset.source.startswith("timm ")
        assert len(subset.sha256) == 64
    assert load_subset("imagenet_r").labels != load_subset("imagenet_a").labels
    own = tmp_path / "own.txt"
    own.write_text("# mine\ncat\n\n dog \n")
    assert load_subset(own).labels == ["cat", "dog"]
    with pytest.raises(UserError, match=r"no subset or file 'imagenet-r'; expected one of .*; did you mean imagenet_r"):
        load_subset("imagenet-r")
    for text, message in (("", "no labels"), ("a\nb\na\n", "1 labels occur more than once, first 'a'")):
        own.write_text(text)
        with pytest.raises(UserError, match=message):
            load_subset(own)


# ------------------------------------------------------------------------------------------------------------- report


class Drawn(Encoder):
    """An encoder whose embeddings come from what is encoded: the class named in it, and noise of its own."""

    def __init__(self, noise: float, unreadable: tuple[str, ...] = ()) -> None:
        super().__init__({}, {}, name="drawn", provenance={"noise": noise})
        self.noise, self.unreadable, self.texts = noise, unreadable, []

    def _vector(self, words: str) -> torch.Tensor:
        centre = torch.zeros(24)
        for place, word in enumerate(("cat", "dog", "crane")):
            centre[place] = 2.0 * (word in words)
        noise = torch.randn(24, generator=torch.Generator().manual_seed(zlib.crc32(words.encode())))
        return normalize(centre + self.noise * noise, dim=-1)

    def encode_readable(self, modality, items, sample_rate=None, batch_size=None, progress=None):
        if modality == "text":
            self.texts += items
        names = [str(item) if modality == "text" else Path(item).name for item in items]
        kept = [i for i, name in enumerate(names) if name not in self.unreadable]
        skipped = [(i, f"{name}: an empty file") for i, name in enumerate(names) if name in self.unreadable]
        return torch.stack([torch.empty(24), *(self._vector(names[i]) for i in kept)])[1:], kept, skipped


@pytest.fixture
def manifest(tmp_path):
    """40 pictures of each of four classes, two of which are called crane."""
    labels = ["cat", "crane_bird", "crane_machine", "dog"]
    rows = [
        {"id": f"{label}-{i}", "image": f"{label}-{i}.png", "label": label, "scene": f"scene {i % 20}"}
        for i in range(40)
        for label in labels
    ]
    (tmp_path / "pets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "names.json").write_text(json.dumps({"crane_bird": "crane", "crane_machine": "crane"}))
    return tmp_path / "pets.jsonl"


def spec_of(manifest, **more):
    names = manifest.with_name("names.json")
    return ZeroShot(ZeroShot.Spec(test=manifest, prompts="cifar", names=names, **more))


def test_report_of_two_runs(manifest, tmp_path):
    runs = {"sharp": Drawn(0.5), "blunt": Drawn(1.6, unreadable=("cat-3.png",))}
    test = spec_of(manifest, cluster="scene", trained=True)
    report = robustness_report(runs, test, "pets", ks=(1, 5))
    report.write(tmp_path / "report")
    report = read_report(tmp_path / "report")

    for encoder in runs.values():  # every prompt once: two names for four labels, three distinct
        assert len(encoder.texts) == len(set(encoder.texts))
        assert sum(text.startswith("a photo of a ") and text.endswith(".") for text in encoder.texts) >= 3
    records = {record.metric: record for record in report.records}
    one, five, whole = (records[f"accuracy_{name}: sharp"] for name in ("k1", "k5", "all"))
    assert (one.n, one.chance, one.context["subsets"], five.context["subsets"]) == (159, 0.25, 18, 200)
    assert len(five.context["best_templates"]) == 5
    assert whole.context["candidates"] == ["cat", "crane_bird", "crane_machine", "dog"]
    assert one.value < five.value <= whole.value
    assert one.low < one.value < one.high

    # the whole set is what zero-shot classification says of the items all runs could read
    answers = report.predictions
    sharp = answers[answers["protocol"] == "accuracy_all: sharp"].set_index("item")
    assert sharp["correct"].mean() == pytest.approx(whole.value)
    assert len(sharp) == 159
    assert "cat-3" not in sharp.index
    assert not sharp.loc[sharp["true"] == "crane_machine", "correct"].any()
    alone = test.evaluate(Drawn(0.5), "pets", brief=True).predictions
    alone = alone[alone["protocol"] == "acc1"].set_index("item")
    assert sharp["predicted"].to_dict() == alone.loc[sharp.index, "predicted"].to_dict()
    assert sharp["score"].to_numpy() == pytest.approx(alone.loc[sharp.index, "score"].to_numpy() / 100, abs=1e-6)

    # the difference at k = all, from the two runs' own answers
    blunt = answers[answers["protocol"] == "accuracy_all: blunt"].set_index("item")
    gap = records["accuracy_all: sharp - blunt"]
    hits = sharp["correct"].to_numpy(), blunt.loc[sharp.index, "correct"].to_numpy()
    assert gap.value == pytest.approx(hits[0].mean() - hits[1].mean())
    assert (gap.low, gap.high) == pytest.approx(paired_interval(*hits, sharp["cluster"].to_numpy()))
    assert gap.context["excludes_0"]

    ranked = report.tables["Templates, ranked"]
    assert sorted(ranked["template"]) == sorted(load_templates("cifar"))
    assert ranked["sharp: accuracy"].is_monotonic_decreasing
    assert ranked["sharp: accuracy"].mean() == pytest.approx(one.value)
    assert records["sensitivity: sharp"].value == pytest.approx(ranked["sharp: accuracy"].std(ddof=0))
    near = records["k_near_peak: blunt"]
    assert near.value in (1, 5, 18)
    assert 1 <= near.low <= near.high <= 18
    reworded = report.tables["Perturbations: every template reworded, against the original set"]
    assert len(reworded) == 2 * len(perturbed_sets(load_templates("cifar")))
    changed = dict(zip(reworded["perturbation"], reworded["templates changed"], strict=True))
    assert (changed["no full stop"], changed["article a"], changed["article an"]) == (18, 9, 16)
    assert records["no article - original: blunt"].low <= records["no article - original: blunt"].value
    assert {"Accuracy against the number of templates", "Every template by itself"} == set(report.figures)
    assert_said(report.answer, report)
    assert any("items could not be read and are not scored" in note for note in report.notes)
    assert any("1 class names belong to several classes (crane)" in note for note in report.notes)
    assert any("prompted classification, not zero-shot" in note for note in report.notes)


def assert_said(said, report):
    """The winner by the interval of all templates; each run's peak and templates; the rewordings that count."""
    records = {record.metric: record for record in report.records}
    winner, sharp, blunt, reworded = said
    gap, ranked = records["accuracy_all: sharp - blunt"], report.tables["Templates, ranked"]
    assert winner == (
        f"pets, all templates together: sharp wins, ahead of blunt by {gap.value:.3f} [{gap.low:.3f}, {gap.high:.3f}]."
    )
    means = {k: records[f"accuracy_{name}: sharp"].value for k, name in ((1, "k1"), (5, "k5"), (18, "all"))}
    peak = max(means, key=means.get)
    assert sharp.startswith(f"pets, sharp: {means[18]:.3f} [")
    assert (
        f"of 159 images right with all 18 templates (chance 0.250). The peak, {means[peak]:.3f}, is at k = {peak}"
        in sharp
    )
    best, worst = ranked.iloc[0], ranked.iloc[-1]
    assert f"“{best['template']}” is the best template ({best['sharp: accuracy']:.3f})" in sharp
    assert f"the worst ({worst['sharp: accuracy']:.3f})." in sharp
    assert blunt.startswith("pets, blunt: ")
    gaps = [record for metric, record in records.items() if " - original" in metric]
    sure = sum(record.context["excludes_0"] for record in gaps)
    assert reworded.startswith(f"{sure} of {len(gaps)} rewordings change accuracy")


def test_no_winner_among_equals(manifest):
    runs = {name: Drawn(0.5) for name in ("one", "two", "three")}
    said = robustness_report(runs, spec_of(manifest), "pets", ks=(1,), perturb=False).answer
    assert said[0].startswith("pets, all templates together: no winner: one and two differ by 0.000 [-")
    assert said[0].endswith("which holds 0, corrected for 3 pairs (Bonferroni).")
    assert len(said) == 4


def test_report_of_one_run_has_plain_names(manifest):
    report = robustness_report({"only": Drawn(0.7)}, spec_of(manifest), "pets", ks=(5,), perturb=False)
    assert len(report.answer) == 1
    assert [r.metric for r in report.records] == ["accuracy_k5", "accuracy_all", "sensitivity", "k_near_peak"]
    assert list(report.tables["Templates, ranked"]["rank"]) == list(range(1, 19))


def test_sizes_that_nobody_asked_for_fit_the_set():
    assert sizes_of(None, ["a"] * 18, "cifar") == (1, 5, 10)
    assert sizes_of(None, ["a"] * 7, "imagenet7") == (1, 5)
    assert sizes_of((3,), ["a"] * 7, "imagenet7") == (3,)


def test_too_many_unreadable_items(manifest):
    with pytest.raises(UserError, match=r"2 of 160 items .* cannot be used, the limit is 1.0%; .*--max-bad"):
        robustness_report({"a": Drawn(1, ("cat-1.png",)), "b": Drawn(1, ("dog-1.png",))}, spec_of(manifest), "pets")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--k", "5", "30"], "--k 30: more templates than the 18 of cifar; ask for fewer, or name a larger set"),
        (["--k", "0"], "--k 0: expected at least 1 template"),
        (["--max-bad", "2"], "--max-bad: found 2, expected a share between 0 and 1"),
    ],
)
def test_mistakes_are_one_line(manifest, capsys, options, message):
    path = ROOT / "eval" / "robustness.py"
    spec = importlib.util.spec_from_file_location("eval_robustness", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    arguments = ["open_clip:ViT-B-32", "--dataset", str(manifest), "--prompts", "cifar", *options]
    assert run_script(script.main, arguments) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
