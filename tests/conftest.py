"""Fixtures of the whole suite."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from browser import Browser

if not Path("/dev/nvidiactl").exists():  # before anything imports triton: without a GPU its kernels are interpreted
    os.environ["TRITON_INTERPRET"] = "1"


def pytest_collection_finish() -> None:
    """Whatever was imported stays: the collections at every run's end need not go through it (0.4 s each)."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def xmodal_data() -> Path:
    """The folder of real data, named by XMODAL_DATA; tests that need it skip where it is unset."""
    folder = os.environ.get("XMODAL_DATA")
    if not folder:
        pytest.skip("XMODAL_DATA is unset: no real data to test on")
    path = Path(folder)
    assert path.is_dir(), f"XMODAL_DATA={folder}: no such folder"
    return path.resolve()


WORDS = "turn on off the lights play some music stop it now please red blue zero one alarm set call".split()  # noqa: SIM905


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random BERT and a tokenizer made on the spot."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny_bert")
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.jsonl, test.jsonl, examples.jsonl: 60 tones, two words each, a label for every first word."""
    import json

    import numpy as np
    import soundfile

    folder = tmp_path_factory.mktemp("tiny_pairs")
    rng = np.random.default_rng(0)
    verbs, things = ["play", "stop", "set", "call"], ["music", "lights", "alarm"]
    rows = []
    for take in range(6):
        for i, verb in enumerate(verbs):
            for j, thing in enumerate(things):
                name = f"{verb}_{thing}_{take}"
                t = np.arange(int(8000 * rng.uniform(0.25, 0.5))) / 8000
                wave = np.sin(2 * np.pi * (300 + 500 * i) * t) + np.sin(2 * np.pi * (2500 + 400 * j) * t)
                soundfile.write(folder / f"{name}.wav", 0.2 * wave + 0.01 * rng.standard_normal(len(t)), 8000)
                extra = ["now", "please", "it"][take % 3] if take < 5 else "some"
                rows.append({"id": name, "speech": f"{name}.wav", "text": f"{verb} the {thing} {extra}", "label": verb})
    train, test = [r for r in rows if not r["id"].endswith("5")], [r for r in rows if r["id"].endswith("5")]
    for name, part in {"train": train, "test": test}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in part))
    examples = [{"id": f"e{i}", "text": r["text"], "label": r["label"]} for i, r in enumerate(train)]
    (folder / "examples.jsonl").write_text("".join(json.dumps(r) + "\n" for r in examples))
    return folder


@pytest.fixture(scope="session")
def tiny_towers(tiny_bert: Path) -> str:
    """The `towers` of a config: a small speech encoder from scratch, and the tiny model."""
    return f"""
towers:
  speech:
    {{kind: speech_encoder, sample_rate: 8000, mels: 20, fft: 256, high: 3900, width: 16,
      layers: 1, heads: 2, feed_forward: 32, strides: [2, 2]}}
  text: {{kind: transformers, name: {tiny_bert}}}
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Browser]":
    """The machine's Chromium; tests that look at pages skip where there is none."""
    from browser import Browser, find_browser

    program = find_browser()
    if program is None:
        pytest.skip("no Chromium on this machine: pages are not looked at")
    browser = Browser(program, tmp_path_factory.mktemp("browser") / "profile")
    yield browser
    browser.close()


@pytest.fixture
def tiny_config(tiny_towers: str, tiny_pairs: Path, tmp_path: Path) -> Path:
    """A config file over the tiny model and data; its run folder is `tmp_path/run`."""
    path = tmp_path / "config.yaml"
    path.write_text(
        f"""
output: {tmp_path / "run"}
data:
  train: {tiny_pairs / "train.jsonl"}
  buckets: 2
  modalities:
    speech: {{kind: audio, augment: {{time_masks: 1, frequency_masks: 1, frequency_width: 2}}}}
{tiny_towers}
objective: {{kind: cwcl}}
optim: {{lr: 3e-3}}
train: {{steps: 12, batch_size: 10, log_every: 2, save_every: 4, threads: 1}}
evaluators:
  held:
    kind: speech_intent
    test: {tiny_pairs / "test.jsonl"}
    examples: {tiny_pairs / "examples.jsonl"}
    prompts: plain
"""
    )
    return path
