"""Every script from outside, as a user runs it: it does its work on tiny data.

Tests are named after the script, `test_eval_compare`, here or in test_scripts_images.py. A benchmark needs `--quick`
and nothing else.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from run_script import ROOT, rows_of, script, works

from xmodal.config.load import load_config
from xmodal.report.report import read_report
from xmodal.store import EmbeddingStore, content_id
from xmodal.synthesis.demo import Making
from xmodal.training.trainer import Trainer

BENCHMARKS = sorted(p.name for p in (ROOT / "benchmarks").glob("bench_*.py"))

# ---------------------------------------------------------------------------------------------------------------- eval


def test_eval_speech_intent(tiny_config: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trained = Trainer(load_config(tiny_config)).fit()
    shutil.rmtree(run / "report")
    # what the run's config names: the report that training wrote
    done = script("eval/speech_intent.py", run, cwd=tmp_path)  # a process of its own
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"report: {run}/report/report.html"
    again = read_report(run / "report")
    numbers = {r.name: (r.value, r.low, r.high) for r in trained.records}
    assert {r.name: (r.value, r.low, r.high) for r in again.records} == numbers
    assert again.provenance["weights_from_step"] == 12
    assert {"training loss", "held: speech-text similarity"} <= again.figures.keys()

    # a manifest of one's own
    mine = tmp_path / "mine"
    mine.mkdir()
    rows = [r for r in rows_of(tiny_pairs / "test.jsonl") if r["label"] in ("play", "stop")]
    for row in rows:
        shutil.copy(tiny_pairs / row["speech"], mine)
    (mine / "kitchen.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (mine / "names.json").write_text('{"play": "play some music"}')
    options = ["--test", "mine/kitchen.jsonl", "--names", "mine/names.json", "--synthetic", "--prompts", "plain"]
    printed = works("eval/speech_intent.py", run, *options, cwd=tmp_path)
    assert printed[-1] == f"report: {run}/speech_intent-mine-kitchen-plain/report.html"
    report = read_report(run / "speech_intent-mine-kitchen-plain")
    record = next(r for r in report.records if r.name == "mine-kitchen/accuracy_prompt")
    assert (record.n, record.chance, record.context["candidates"]) == (6, 0.5, ["play", "stop"])
    assert any("synthetic" in line for line in printed)

    # intents typed on the spot
    clips = [tiny_pairs / "play_music_5.wav", tiny_pairs / "stop_alarm_5.wav"]
    intents = ["stop it", "play music", "set the alarm"]
    options = [o for clip in clips for o in ("--audio", clip)] + [o for i in intents for o in ("--intent", i)]
    printed = works("eval/speech_intent.py", run, *options, cwd=tmp_path)
    assert [printed[0], printed[4]] == [str(clip) for clip in clips]
    for first in (1, 5):
        scores, names = zip(*(line.split(maxsplit=1) for line in printed[first : first + 3]), strict=True)
        assert sorted(names) == sorted(intents)
        assert list(map(float, scores)) == sorted(map(float, scores), reverse=True)


def test_eval_compare(tiny_config: Path, tmp_path: Path) -> None:
    values = {}
    for name, loss in (("cl", "infonce"), ("cwcl", "cwcl")):
        overrides = [f"output={tmp_path / name}", f"objective.kind={loss}", "train.trackers=[]"]
        values[name] = Trainer(load_config(tiny_config, overrides)).fit().value("held/accuracy_mean")
    printed = works("eval/compare.py", "cwcl", "cl", cwd=tmp_path)
    assert printed[-1] == f"{tmp_path}/cwcl/compare_cl/report.html"
    report = read_report(tmp_path / "cwcl" / "compare_cl")
    difference = report.value("accuracy_mean: cwcl - cl", "held")
    assert difference == pytest.approx(values["cwcl"] - values["cl"])
    assert any(f"{difference:.3f}" in line for line in printed if "accuracy_mean" in line)


@pytest.mark.slow
def test_eval_sweep(tiny_config: Path, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(
        "config: config.yaml\noutput: swept\naxes: {loss: {CL: [objective.kind=infonce]}, seed: {'5': [seed=5]}}\n"
        "over: seed\nmetrics: [held/accuracy_mean]\n"
    )
    quick = tiny_config.read_text().replace("steps: 12", "steps: 4")
    (tmp_path / "config.yaml").write_text(quick)
    printed = works("eval/sweep.py", "one.yaml", cwd=tmp_path)
    assert printed[-1] == "report: swept/report/report.html"
    of_run = read_report(tmp_path / "swept" / "cl-5" / "report").value("held/accuracy_mean")
    assert read_report(tmp_path / "swept" / "report").value("held/accuracy_mean", "CL") == pytest.approx(of_run)
    assert load_config(tmp_path / "swept" / "cl-5" / "config.yaml").seed == 5


# ----------------------------------------------------------------------------------------------------------- data_prep


def test_data_prep_embed_frozen(tiny_config: Path, tiny_bert: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    tower = f"{{kind: store, path: store, tower: {{kind: transformers, name: {tiny_bert}}}}}"
    texts = {row["text"] for row in rows_of(tiny_pairs / "train.jsonl")}
    printed = works("data_prep/embed_frozen.py", tiny_config, f"towers.text={tower}", cwd=tmp_path)
    assert printed == [f"store: {len(texts)} text items, 32 features each"]
    store = EmbeddingStore.open(tmp_path / "store")
    rows = store.rows(np.array([content_id(text) for text in sorted(texts)]))
    assert rows.shape == (len(texts), 32)
    assert len(np.unique(rows, axis=0)) == len(texts)


def test_data_prep_make_demo(tmp_path: Path) -> None:
    """On a folder that is complete: making one takes a minute. What it writes is tested in test_demo.py."""
    (tmp_path / "demo.json").write_text(json.dumps(Making(3).made()))
    assert works("data_prep/make_demo.py", tmp_path, "--seed", "3", cwd=tmp_path) == [str(tmp_path)]
    assert [p.name for p in tmp_path.iterdir()] == ["demo.json"]


def test_data_prep_prepare(xmodal_data: Path, tmp_path: Path) -> None:
    printed = works("data_prep/prepare.py", "fsdd", xmodal_data / "fsdd", "folds", "--limit", "20", cwd=tmp_path)
    speakers = ["george", "jackson", "lucas", "nicolas", "theo", "yweweler"]
    paths = [f"folds/{speaker}/{split}.jsonl" for speaker in speakers for split in ("train", "test")]
    assert printed == [f"{path}: 20 rows" for path in paths]
    for path in paths:
        rows = rows_of(tmp_path / path)
        assert len(rows) == 20
        held_out = Path(path).parent.name
        assert {row["speaker"] == held_out for row in rows} == {path.endswith("test.jsonl")}
        for row in rows:
            assert soundfile.info((tmp_path / path).parent / row["speech"]).samplerate == 8000


def test_data_prep_synthesize_speech(tmp_path: Path) -> None:
    texts = {"lights": "turn on the lights", "music": "play some music", "stop": "stop it now"}
    lines = [{"id": k, "text": v, "label": k.upper()} for k, v in texts.items()]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    options = ["--voices", "en-us+f2,en-gb-scotland", "--per-text", "2", "--processes", "1"]
    printed = works("data_prep/synthesize_speech.py", "texts.jsonl", "spoken", *options, cwd=tmp_path)
    assert printed == ["spoken/manifest.jsonl"]
    rows = rows_of(tmp_path / "spoken" / "manifest.jsonl")
    assert [row["id"] for row in rows] == [f"{name}-{take}" for name in texts for take in (0, 1)]
    for row in rows:
        name = row["id"].split("-")[0]
        assert (row["text"], row["label"]) == (texts[name], name.upper())
        wave, rate = soundfile.read(tmp_path / "spoken" / row["speech"])
        assert 0.2 < len(wave) / rate < 5
        assert np.abs(wave).max() > 0.01
    for name in texts:
        assert {row["voice"] for row in rows if row["id"].startswith(name)} == {"en-us+f2", "en-gb-scotland"}


# ---------------------------------------------------------------------------------------------------------- benchmarks


@pytest.mark.slow  # all of them together more than a minute
@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmark(name: str, tmp_path: Path) -> None:
    done = script(f"benchmarks/{name}", "--quick", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert f"bench_{result['benchmark']}.py" == name
    assert any(isinstance(value, float) and value > 0 for value in result.values())
    assert list(tmp_path.iterdir()) == []


def test_benchmark_mistake(tmp_path: Path) -> None:
    wrong = script("benchmarks/bench_store.py", "--quik", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr


def test_data_prep_verify(tmp_path: Path) -> None:
    printed = works("data_prep/verify.py", "imagenet_v2", tmp_path, cwd=tmp_path)
    assert printed == [f"{tmp_path}/imagenetv2-matched-frequency.tar.gz: not there"]
    (tmp_path / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(b"broken")
    done = script("data_prep/verify.py", "imagenet", tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout.splitlines()[2].startswith(f"{tmp_path}/ILSVRC2012_devkit_t12.tar.gz: differs: md5 ")
    assert done.stderr == f"error: {tmp_path}: not as published: ILSVRC2012_devkit_t12.tar.gz; download again\n"
