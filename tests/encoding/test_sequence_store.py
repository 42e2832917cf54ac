"""Stores of sequences: equal to the live tower's, however they are made; and training that reads nothing else."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import xmodal
from xmodal.config import dump_config
from xmodal.config.load import load_config
from xmodal.data.audio import read_audio
from xmodal.encoding.kept_features import feature_caches
from xmodal.encoding.stores import batches as store_batches
from xmodal.encoding.stores import build as store_build
from xmodal.encoding.stores.build import build_store
from xmodal.errors import UserError
from xmodal.store import EmbeddingStore, content_id, view_id
from xmodal.towers import build_tower
from xmodal.towers.kinds.store import StoreTower
from xmodal.towers.own.speech_encoder import SpeechEncoder, SpeechEncoderTower
from xmodal.towers.weights import save_backbone
from xmodal.training.trainer import Trainer

EMBED = Path(__file__).resolve().parents[2] / "data_prep" / "embed_frozen.py"
ENCODER = {
    "kind": "speech_encoder", "sample_rate": 8000, "mels": 20, "fft": 256, "high": 3900, "width": 16, "layers": 1,
    "heads": 2, "feed_forward": 32, "strides": [2, 2], "head": {"kind": "identity"},
}  # fmt: skip
HEAD = {"kind": "transformer", "stack": 2, "hidden": 16, "layers": 1, "heads": 2, "feed_forward": 32}


@pytest.fixture
def config_path(tiny_config: Path, tmp_path: Path) -> Path:
    """The tiny run, its speech side read from a store of frames of a locked encoder with random weights."""
    torch.manual_seed(0)
    tower, _ = build_tower(SpeechEncoderTower.Spec.model_validate(ENCODER))
    save_backbone(tower.backbone, tmp_path / "speech")
    locked = {**ENCODER, "mode": "locked", "weights": str(tmp_path / "speech")}
    store = {"kind": "store", "path": str(tmp_path / "store"), "tower": locked, "head": HEAD}
    augment = {"kind": "audio", "augment": {"time_masks": 1, "noise": 0.1}}
    overrides = [f"towers.speech={json.dumps(store)}", f"data.modalities.speech={json.dumps(augment)}"]
    path = tmp_path / "frames.yaml"
    path.write_text(dump_config(load_config(tiny_config, overrides)))
    return path


def make(path: Path, *overrides: str, remake: bool = False) -> EmbeddingStore:
    config = load_config(path, list(overrides))
    spec = config.towers["speech"]
    assert isinstance(spec, StoreTower.Spec)
    return build_store(spec, config, "speech", remake=remake)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_it_holds_what_the_live_tower_gives(config_path: Path, tiny_pairs: Path) -> None:
    store = make(config_path)
    assert (len(store), store.width, store.sequences) == (60, 16, True)
    assert {path.name for path in store.folder.iterdir()} == {"ids.npy", "frames.npy", "starts.npy", "store.json"}
    spec = load_config(config_path).towers["speech"]
    assert isinstance(spec, StoreTower.Spec)
    live, processor = build_tower(spec.tower)
    live.eval()
    for name in ("play_music_0.wav", "call_alarm_3.wav"):
        inputs = processor.collate([processor.features(read_audio(tiny_pairs / name, 8000))])
        with torch.no_grad():
            expected = live.sequence(inputs).each()[0]
        found = store.frames(content_id(name))
        assert found.dtype == np.float16
        np.testing.assert_allclose(found, expected, atol=2e-3, rtol=2e-3)
        assert store.lengths(np.array([content_id(name), 5]))[:2].tolist() == [len(expected), 0]


def test_an_interrupted_build_gives_the_same_bits(config_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_batches, "BATCH_SIZE", 7)
    whole = make(config_path)
    expected = files(whole.folder)
    encode, seen = store_build._encode, list[int]()

    def stopping(*arguments: object) -> object:
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(1)
        return encode(*arguments)  # type: ignore[arg-type]

    shutil.rmtree(whole.folder)
    with monkeypatch.context() as patch:
        patch.setattr(store_build, "_encode", stopping)
        with pytest.raises(KeyboardInterrupt):
            make(config_path)
    with pytest.raises(UserError, match="unfinished"):
        EmbeddingStore.open(whole.folder)
    assert files(make(config_path).folder) == expected


def embed(path: Path, processes: int, *overrides: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    return subprocess.Popen(
        [*command, str(EMBED), str(path), *overrides], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


@pytest.mark.parametrize("sequences", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_two_processes_with_workers_give_the_same_bits(config_path: Path, tmp_path: Path, sequences: bool) -> None:
    own = [] if sequences else ["towers.speech.head={kind: linear}", "data.modalities.speech.augment={}"]
    expected = files(make(config_path, *own, "train.threads=1").folder)
    process = embed(config_path, 2, *own, f"towers.speech.path={tmp_path / 'two'}", "data.workers=1", "train.threads=1")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err[-2000:]
    assert out.count("60 speech items") == 1
    assert files(tmp_path / "two") == expected


def test_a_process_killed_among_two_loses_nothing(config_path: Path, tmp_path: Path, tiny_pairs: Path) -> None:
    rows = [json.loads(line) for line in (tiny_pairs / "train.jsonl").read_text().splitlines()]
    many = [
        {**row, "id": f"{row['id']}-{n}", "speech": str(tiny_pairs / row["speech"]), "speech_id": f"{row['id']}-{n}"}
        for n in range(20)
        for row in rows
    ]
    data = tmp_path / "many.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in many))
    common = [f"data.train={data}", "train.threads=1"]
    expected = files(make(config_path, *common).folder)
    killed = tmp_path / "killed"
    process = embed(config_path, 2, *common, f"towers.speech.path={killed}")
    while not (killed / "progress.json").exists():
        assert process.poll() is None
        time.sleep(0.02)
    children = subprocess.run(
        ["pgrep", "-g", str(os.getpgid(process.pid)), "-f", "embed_frozen"], capture_output=True, text=True, check=True
    ).stdout.split()
    os.kill(int(children[-1]), signal.SIGKILL)
    process.communicate(timeout=120)
    again = embed(config_path, 2, *common, f"towers.speech.path={killed}")
    _, err = again.communicate(timeout=120)
    assert again.returncode == 0, err[-2000:]
    assert files(killed) == expected


def test_unusable_items_are_counted_over_a_resumed_build(
    config_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store_batches, "BATCH_SIZE", 4)
    rows = []
    for n in range(12):
        wave = np.full(4000, np.nan) if n in (2, 9) else np.random.default_rng(n).standard_normal(4000) / 9
        soundfile.write(tmp_path / f"{n}.wav", wave.astype(np.float32), 8000, subtype="FLOAT")
        rows.append({"id": f"r{n}", "speech": f"{n}.wav", "text": "stop it"})
    (tmp_path / "bad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = [f"data.train={tmp_path / 'bad.jsonl'}"]
    with pytest.raises(UserError, match=r"1 of 12 items .*NaN.*data.max_bad"):
        make(config_path, *common)
    with pytest.raises(UserError, match=r"2 of 12 items .*the limit is 10"):  # the first was counted before the "kill"
        make(config_path, *common, "data.max_bad=0.1")
    store = make(config_path, *common, "data.max_bad=0.2")
    assert len(store) == 10
    assert "speech: 2 of 12 items cannot be used and are left out: r2 (" in caplog.text
    assert not store.contains(np.array([content_id("2.wav"), content_id("9.wav")])).any()


def test_voicings_are_views_and_the_first_is_the_recording(config_path: Path) -> None:
    plain = make(config_path)
    voiced = ["towers.speech.views=3", "data.modalities.speech.waveform={speed: 0.2, gain: 6, snr: [5, 20], room: 0.3}"]
    store = make(config_path, *voiced, f"towers.speech.path={plain.folder}-3")
    assert len(store) == 180
    item = content_id("set_lights_1.wav")
    views = [store.frames(view_id(item, view, 3)) for view in range(3)]
    np.testing.assert_array_equal(views[0], plain.frames(item))
    assert len({len(view) for view in views}) > 1
    with pytest.raises(UserError, match=r"towers.speech.views: all would be the same: set data.modalities.speech.wave"):
        load_config(config_path, ["towers.speech.views=3"])


def test_training_reads_nothing_but_frames_and_resumes(config_path: Path, tmp_path: Path, tiny_pairs: Path) -> None:
    make(config_path)
    away = tiny_pairs.rename(tiny_pairs.with_name("away"))
    try:
        away_train = [f"data.train={tmp_path / 'train.jsonl'}", "evaluators={}"]
        (tmp_path / "train.jsonl").write_text((away / "train.jsonl").read_text())
        common = [*away_train, "towers.speech.views=1", "train.steps=40"]
        Trainer(load_config(config_path, common)).fit()
        losses = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
        found = [row["train/loss"] for row in losses if "train/loss" in row]
        assert found[-1] < 0.9 * found[0]
    finally:
        away.rename(tiny_pairs)
    encoder = xmodal.load(tmp_path / "run")
    z = encoder.encode("speech", [tiny_pairs / "play_music_0.wav", tiny_pairs / "stop_alarm_2.wav"])
    alone = encoder.encode("speech", [tiny_pairs / "play_music_0.wav"])
    torch.testing.assert_close(z[:1], alone, atol=1e-6, rtol=1e-5)


def test_a_loss_over_positions_trains_on_frames_in_chunks(config_path: Path, tmp_path: Path) -> None:
    make(config_path)
    terms = "objective={align: {kind: infonce}, local: {kind: local_global, on: [speech, text], weight: 0.5}}"
    overrides = [terms, "evaluators={}", "train.steps=40", "train.chunk=4", "train.log_every=1"]
    Trainer(load_config(config_path, overrides)).fit()
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    found = [row["train/local/loss"] for row in rows if "train/local/loss" in row]
    assert found[-1] < 0.9 * found[0]
    assert xmodal.load(tmp_path / "run").encode("text", ["play the music now"]).shape == (1, 32)


def test_the_run_is_judged_while_it_trains(config_path: Path, tmp_path: Path) -> None:
    Trainer(load_config(config_path, ["train.steps=4"])).fit()
    report = json.loads((tmp_path / "run" / "report" / "report.json").read_text())
    assert any(record["metric"] == "accuracy_mean" for record in report["records"])


@pytest.mark.parametrize("head", [HEAD, {"kind": "mlp", "hidden": 8}], ids=lambda head: head["kind"])
def test_a_tests_files_go_through_the_backbone_once_for_all_runs(
    head: dict[str, object], config_path: Path, tmp_path: Path, tiny_pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = 0

    def counted(one: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def run(self: SpeechEncoder, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
            nonlocal seen
            seen += 1
            return one(self, inputs)

        return run

    common = [f"towers.speech.head={json.dumps(head)}", "train.steps=4", "train.eval_every=2", "train.trackers=[]"]
    common.append("data.modalities.speech={kind: audio}")  # vectors take no time masks
    for name in ("forward", "sequence"):
        monkeypatch.setattr(SpeechEncoder, name, counted(getattr(SpeechEncoder, name)))
    Trainer(load_config(config_path, [*common, f"output={tmp_path / 'first'}"])).fit()
    first, seen = seen, 0
    Trainer(load_config(config_path, [*common, f"output={tmp_path / 'second'}", "seed=1"])).fit()
    assert first > 0
    assert seen == 0
    encoder = xmodal.load(tmp_path / "second")
    clips = [*sorted(tiny_pairs.glob("*.wav"))[:9], tmp_path / "nowhere.wav"]
    live = encoder.encode_readable("speech", clips)
    for _ in range(2):
        encoder.feature_caches = feature_caches({"speech": {"kind": "store", "path": str(tmp_path / "store")}})
        kept = encoder.encode_readable("speech", clips)
        torch.testing.assert_close(kept[0], live[0], rtol=0, atol=2e-6)
        assert kept[1:] == live[1:]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.modalities.speech.augment={mel_roll: 2}", r"augment.mel_roll: works on log-mel .*, time_shift, speed"),
        ("data.modalities.speech.waveform={gain: 3}", r"waveform: towers.speech is read from a store and sees no augm"),
        ("towers.speech.head={kind: linear}", r"augment: towers.speech is read from a store of vectors"),
        ("towers.speech.head={kind: transformer, heads: 5}", r"head.heads: 192 features are no multiple of 5 heads"),
        ("towers.speech.head={kind: transformer, mix: 3}", r"head.mix: 3 layers, but the backbone's 16 features"),
    ],
)
def test_what_does_not_fit_is_one_line(config_path: Path, override: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        Trainer(load_config(config_path, [override]))
    assert "\n" not in str(error.value)


def test_a_store_of_the_other_sort_is_refused(config_path: Path) -> None:
    make(config_path)
    vectors = ["towers.speech.head={kind: linear}", "data.modalities.speech.augment={}"]
    with pytest.raises(UserError, match=r"made with preprocessing output sequence, the config asks for none"):
        make(config_path, *vectors)
    spec = load_config(config_path, vectors).towers["speech"]
    with pytest.raises(UserError, match="a store of sequences, and head 'linear' needs vectors"):
        build_tower(spec)
    (make(config_path).folder / "starts.npy").unlink()
    with pytest.raises(UserError, match=r"starts.npy: cannot be read"):
        make(config_path)
