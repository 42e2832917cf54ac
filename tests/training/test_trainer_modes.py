"""Ways to train on tiny towers: chunks, bf16, unlocked pretrained towers, heads on a store; and Ctrl-C."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from killed_run import fit_and_die
from safetensors.torch import load_file

import xmodal
from xmodal.aligner.build import build_aligner
from xmodal.batch import PairBatch
from xmodal.config.load import load_config
from xmodal.training.trainer import Trainer

TRAIN = Path(xmodal.__file__).parent / "train.py"


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def test_chunks_train_the_same_weights(tiny_config: Path, tmp_path: Path) -> None:
    common = ["train.steps=3", "evaluators={}", "towers.speech.dropout=0", "optim.eps=1e-3"]
    for name, extra in {"whole": [], "chunks": ["train.chunk=3"]}.items():
        Trainer(load_config(tiny_config, [f"output={tmp_path / name}", *common, *extra])).fit()
    for name, value in weights(tmp_path / "whole").items():
        torch.testing.assert_close(weights(tmp_path / "chunks")[name], value, rtol=1e-4, atol=1e-6)


def test_bf16_trains_and_keeps_fp32_weights(tiny_config: Path, tmp_path: Path) -> None:
    # in a process of its own: Accelerate keeps one precision per process
    overrides = ["train.precision=bf16", "train.steps=40", "evaluators={}", "optim.lr=1e-2"]
    done = subprocess.run([sys.executable, str(TRAIN), str(tiny_config), *overrides], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert {v.dtype for v in weights(tmp_path / "run").values()} == {torch.float32}
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["train/loss"] < rows[0]["train/loss"]


def test_towers_run_in_half_precision_and_what_leaves_them_is_fp32(tiny_config: Path) -> None:
    aligner, _ = build_aligner(load_config(tiny_config))
    tower, seen = aligner.tower("speech"), []
    tower.head.register_forward_hook(lambda *call: seen.append(call[-1].dtype))
    [modality] = [torch.randn(3, 30, 20)]
    batch = PairBatch(
        inputs={"speech": {"features": modality, "lengths": torch.tensor([30, 20, 30])}},
        ids=torch.arange(3),
        item_ids={"speech": torch.arange(3), "text": torch.arange(3)},
    )
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = aligner.embeddings(batch)
        with torch.autocast("cpu", enabled=False):  # as objectives run
            found = [embeddings.z("speech"), embeddings.raw("speech"), embeddings.features("speech")]
    assert seen == [torch.bfloat16]
    assert {each.dtype for each in found} == {torch.float32}


def test_an_unlocked_text_tower_comes_back(tiny_config: Path, tmp_path: Path) -> None:
    trainer = Trainer(
        load_config(tiny_config, ["towers.text.mode=unlocked", "objective.kind=infonce", "train.steps=4"])
    )
    trainer.fit()
    texts = ["play the music", "stop the alarm now"]
    expected = trainer.judge.encoder.encode("text", texts)
    torch.testing.assert_close(xmodal.load(tmp_path / "run").encode("text", texts), expected, rtol=1e-5, atol=1e-6)
    locked = Trainer(load_config(tiny_config, [f"output={tmp_path / 'locked'}", "train.steps=1"])).judge.encoder
    assert not torch.allclose(locked.encode("text", texts), expected, atol=1e-3)


def test_a_tower_with_tied_weights_can_be_saved(tiny_bert: Path, tiny_config: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, T5Config, T5EncoderModel

    folder = tmp_path / "t5"
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    tokenizer.save_pretrained(folder)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=16, d_ff=64, num_layers=1, num_heads=2, pad_token_id=0
    )
    T5EncoderModel(config).save_pretrained(folder)
    overrides = [f"towers.text.name={folder}", "towers.text.mode=unlocked", "objective.kind=infonce", "train.steps=2"]
    trainer = Trainer(load_config(tiny_config, overrides))
    trainer.fit()
    expected = trainer.judge.encoder.encode("text", ["stop it"])
    torch.testing.assert_close(
        xmodal.load(tmp_path / "run").encode("text", ["stop it"]), expected, rtol=1e-5, atol=1e-6
    )


def test_resume_is_bit_equal_with_a_head_on_a_store(tiny_config: Path, tiny_bert: Path, tmp_path: Path) -> None:
    store = (
        f"towers.text={{kind: store, path: {tmp_path / 'store'}, head: {{kind: linear, dim: 24}}, "
        f"tower: {{kind: transformers, name: {tiny_bert}}}}}"
    )
    common = [store, "evaluators={}", "train.steps=8", "train.save_every=4", "train.trackers=[jsonl]"]
    whole = load_config(tiny_config, [f"output={tmp_path / 'whole'}", *common])
    Trainer(whole).fit()

    fit_and_die(Trainer(load_config(tiny_config, [f"output={tmp_path / 'run'}", *common])))
    Trainer(load_config(tiny_config, [f"output={tmp_path / 'run'}", *common, "train.resume=true"])).fit()
    for name, value in weights(tmp_path / "whole").items():
        assert torch.equal(weights(tmp_path / "run")[name], value), name


def test_ctrl_c_ends_with_130_and_a_checkpoint_that_loads(tiny_config: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(TRAIN), str(tiny_config), "train.steps=100000", "train.save_every=2"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # what a shell starts behind itself ignores it
    )  # fmt: skip
    deadline = time.time() + 120
    while not list((tmp_path / "run" / "checkpoints").glob("step-*[0-9]")) and time.time() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert xmodal.load(tmp_path / "run").encode("text", ["stop"]).shape == (1, 32)


def test_data_of_the_user_are_never_made_over(tmp_path: Path) -> None:
    mine = tmp_path / "train.jsonl"
    mine.write_text('{"id": "1", "speech": "a.wav", "text": "a"}\n')
    (tmp_path / "names.json").write_text("precious")
    command = [sys.executable, str(TRAIN), f"data.train={mine}", f"output={tmp_path / 'run'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert (tmp_path / "names.json").read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "run") == ["names.json", "train.jsonl"]
