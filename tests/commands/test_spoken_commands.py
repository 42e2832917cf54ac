"""The commands of spoken tests, from the command line: label sets, cascades, keywords, folds, SLURP's score."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from xmodal.commands.cli import main
from xmodal.config.load import load_config
from xmodal.errors import UserError, run_script
from xmodal.report.report import read_report
from xmodal.training.trainer import Trainer


@pytest.fixture(scope="module")
def run(tiny_towers: str, tiny_pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has trained for two steps."""
    folder = tmp_path_factory.mktemp("spoken")
    config = folder / "config.yaml"
    config.write_text(
        f"""
output: {folder / "run"}
data: {{train: {tiny_pairs / "train.jsonl"}, buckets: 2}}
{tiny_towers}
objective: {{kind: cwcl}}
train: {{steps: 2, batch_size: 10, threads: 1}}
evaluators:
  held: {{kind: speech_intent, test: {tiny_pairs / "test.jsonl"}, prompts: plain}}
"""
    )
    Trainer(load_config(config)).fit()
    return folder / "run"


@pytest.fixture
def words(tiny_pairs: Path, tmp_path: Path) -> Path:
    """test.jsonl and dev.jsonl beside the recordings' absolute paths, with columns of a verb, a thing and a fold."""
    rows = [json.loads(line) for line in (tiny_pairs / "train.jsonl").read_text().splitlines()]
    for at, row in enumerate(rows):
        verb, thing, _ = row["id"].split("_")
        row |= {"speech": str(tiny_pairs / row["speech"]), "verb": verb, "thing": thing, "fold": 1 + at % 3}
        row["label"] = verb if verb != "call" else None
    write(tmp_path / "dev.jsonl", rows[::2])
    write(tmp_path / "test.jsonl", rows[1::2])
    write(tmp_path / "all.jsonl", [row | {"label": row["verb"]} for row in rows])
    return tmp_path


def write(path: Path, rows: Sequence[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    main([str(argument) for argument in arguments])
    return capsys.readouterr().out.splitlines()


def test_label_sets_and_a_cascade(run: Path, words: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [json.loads(line) for line in (words / "test.jsonl").read_text().splitlines()]
    heard = write(words / "heard.jsonl", [{"id": row["id"], "text": row["text"]} for row in rows])
    sets = ["--labels", "verb=play,stop,set,call", "--labels", "thing=music,lights,alarm"]
    test = words / "test.jsonl"
    lines = printed(
        capsys, "zero-shot", run, "--dataset", test, *sets, "--cascade", heard, "--centre", words / "dev.jsonl",
        "--examples", words / "dev.jsonl", "--out", words / "out",
    )  # fmt: skip
    assert lines[-1] == f"report: {words}/out/report.html"
    report = read_report(words / "out")
    found = {record.metric: record.value for record in report.records}
    assert found["cascade_all_mean"] == found["oracle_all_mean"]  # the transcripts are the true texts
    assert {"accuracy_verb_prompt", "accuracy_thing_mean", "speech_minus_cascade_all_prompt"} <= found.keys()
    assert found["wer"] == 0


def test_open_sets(run: Path, words: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dev = ["--dev", words / "dev.jsonl"]
    out = ["--out", words / "out"]
    printed(capsys, "zero-shot", run, "--dataset", words / "test.jsonl", "--items", "speech", *dev, *out)
    metrics = {record.metric for record in read_report(words / "out").records}
    assert {"acc1", "auroc", "fpr_at_95_tpr", "accuracy_open"} <= metrics
    printed(capsys, "speech-intent", run, "--test", words / "test.jsonl", "--prompts", "plain", *dev, *out)
    metrics = {record.metric for record in read_report(words / "out").records}
    assert {"accuracy_prompt", "auroc_prompt", "accepted_none_prompt"} <= metrics


def test_a_cascade_of_the_runs_own_test(
    run: Path, tiny_pairs: Path, words: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [json.loads(line) for line in (tiny_pairs / "test.jsonl").read_text().splitlines()]
    heard = write(words / "heard.jsonl", [{"id": row["id"], "text": row["text"]} for row in rows])
    printed(capsys, "speech-intent", run, "--cascade", heard, "--out", words / "out")
    report = read_report(words / "out")
    assert report.value("cascade_prompt", "held") == report.value("oracle_prompt", "held")


def test_values_of_one_recording(run: Path, tiny_pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = tiny_pairs / "play_music_5.wav"
    sets = ["--labels", "verb=play,stop", "--labels", "thing=music,lights,alarm"]
    lines = printed(capsys, "speech-intent", run, "--audio", clip, *sets, "--prompts", "plain")
    assert lines[0] == str(clip)
    assert [lines[1], lines[4]] == ["  verb", "  thing"]
    assert {line.split()[-1] for line in lines[2:4]} == {"play", "stop"}
    assert {line.split()[-1] for line in lines[5:]} == {"music", "lights", "alarm"}


def test_keywords_and_folds(run: Path, words: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test, dev = words / "test.jsonl", words / "dev.jsonl"
    listed = ["play", "stop", "set", "_unknown_"]
    lines = printed(capsys, "keywords", run, "--test", test, "--dev", dev, "--words", *listed, "--out", words / "k")
    assert lines[-1] == f"report: {words}/k/report.html"
    report = read_report(words / "k")
    assert {"accuracy", "miss_rate", "false_accepts_per_hour"} <= {record.metric for record in report.records}
    [called] = {record.dataset for record in report.records}
    assert f"{called}: thresholds" in report.tables
    arguments = ["--items", "speech", "--prompts", "plain", "--probes", "linear", "knn", "--out", words / "f"]
    printed(capsys, "folds", run, "--test", words / "all.jsonl", *arguments)
    report = read_report(words / "f")
    metrics = [record.metric for record in report.records]
    assert {"acc1_over_folds", "linear_over_folds", "knn_over_folds"} <= set(metrics)
    assert report.value("linear") > 0.5  # four verbs are four pitches
    arguments = ["--test", words / "all.jsonl", "--what", "diagnostics", "--out", words / "p"]
    printed(capsys, "probe", run, *arguments)  # of the speech, the one side that is no text
    assert read_report(words / "p").value("modality_gap") > 0


def test_slurps_published_predictions(xmodal_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = xmodal_data / "slurp"
    for name, official, strict, n in (
        ("gold_hermit", (0.9015, 0.8699, 0.8484), (0.9015, 0.8699, 0.8484), (2974, 2974)),
        ("multi_slurp_hermit", (0.8569, 0.8142, 0.7833), (0.8564, 0.8137, 0.7829), (13071, 13078)),
    ):
        predictions = root / "predictions" / f"{name}_predictions.jsonl"
        printed(capsys, "slurp-score", predictions, root / "test.jsonl", "--out", tmp_path / name)
        records = {record.metric: record for record in read_report(tmp_path / name).records}
        for kind, expected, items in (("official", official, n[0]), ("strict", strict, n[1])):
            found = [records[f"{level}_{kind}"] for level in ("scenario", "action", "intent")]
            assert tuple(round(record.value or 0, 4) for record in found) == expected
            assert {record.n for record in found} == {items}
            assert all((r.low or 0) < (r.value or 0) < (r.high or 0) for r in found)


MISTAKES = [
    (["zero-shot", "RUN", "--labels", "a=b,c"], "--labels, --examples, --centre, --prompts"),
    (
        ["zero-shot", "RUN", "--dataset", "test.jsonl", "--labels", "size"],
        "--labels: found 'size', expected SET=VALUE,",
    ),
    (["zero-shot", "RUN", "--dataset", "test.jsonl", "--labels", "a=b,c", "--labels", "a=d,e"], "a is given twice"),
    (["zero-shot", "RUN", "--dataset", "test.jsonl", "--examples", "dev.jsonl"], "--centre go with --labels"),
    (["zero-shot", "RUN", "--dataset", "test.jsonl", "--labels", "a=b,c", "--label", "x"], "--label: goes without"),
    (["zero-shot", "RUN", "--dataset", "test.jsonl", "--dev", "dav.jsonl"], "dav.jsonl: no such file; did you mean"),
    (["speech-intent", "RUN", "--dev", "dev.jsonl"], "--dev and --max-bad go with --test"),
    (["speech-intent", "RUN", "--audio", "a", "--intent", "x", "--labels", "a=b,c"], "--intent and --labels: give one"),
    (["keywords", "RUN", "--test", "test.jsonl"], "_unknown_ and _silence_ of the list '12' need dev"),
    (["keywords", "RUN", "--test", "test.jsonl", "--words", "13"], "words: no list '13'; expected 12, 35, superb"),
    (["keywords", "RUN", "--test", "test.jsonl", "--most-false-accepts", "0"], "--most-false-accepts: found 0, expect"),
    (["folds", "RUN", "--test", "test.jsonl", "--items", "speech", "--fold", "part"], "missing column 'part'"),
    (["slurp-score", "test.jsonl", "nothing.jsonl"], "nothing.jsonl: no such file"),
    (["slurp-score", "test.jsonl", "dev.jsonl"], "test.jsonl: line 1: no scenario, action; found id, speech"),
    (["speech-intent", "RUN", "--test", "all.jsonl", "--cascade", "no.jsonl"], "no.jsonl: no such file, expected JSON"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=[" ".join(a[2:])[:60] or a[0] for a, _ in MISTAKES])
def test_a_mistake_is_one_line(
    run: Path,
    words: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(words)
    shutil.rmtree(run / "embeddings", ignore_errors=True)
    assert run_script(main, [str(run) if a == "RUN" else a for a in arguments]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_predictions_that_do_not_fit(tmp_path: Path) -> None:
    gold = write(
        tmp_path / "gold.jsonl",
        [{"slurp_id": 1, "scenario": "a", "action": "b", "recordings": [{"file": "x.flac"}]}],
    )
    for rows, message in (
        ([{"file": "y.flac", "scenario": "a", "action": "b"}], r"file y\.flac is not in .*gold\.jsonl"),
        ([{"slurp_id": 1, "scenario": "a", "action": "b"}] * 2, "slurp_id 1 is predicted twice"),
        ([{"scenario": "a", "action": "b"}], "line 1: neither file nor slurp_id; found scenario, action"),
    ):
        with pytest.raises(UserError, match=message):
            main(["slurp-score", str(write(tmp_path / "p.jsonl", rows)), str(gold)])
