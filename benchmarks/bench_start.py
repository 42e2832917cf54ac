"""Loading a run and encoding one text, against `import torch` alone: CPU seconds of a process of its own.

    python benchmarks/bench_start.py            # 10 rounds
    python benchmarks/bench_start.py --quick    # one round

Claim: with towers of xmodal's own, loading a run and encoding its first text takes at most 1.6 times what importing
torch takes. A tower of transformers also imports transformers' model code, which is the larger part there. The
processes run in turns. Prints a table and, last, one JSON line; `start_over_torch` is the median of the ratios.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import measure
import numpy as np
import soundfile

from xmodal.config.load import load_config
from xmodal.errors import run_script
from xmodal.training.trainer import Trainer

TARGET = 1.6
TORCH, OWN, TRANSFORMERS = "import torch", "own towers: load, encode a text", "transformers text tower: the same"
SPEECH = "{kind: speech_encoder, sample_rate: 8000, mels: 20, fft: 256, high: 3900, width: 16, layers: 1, heads: 2}"


def cpu_seconds(code: str) -> float:
    """User and system time of `python -c CODE`, on one thread."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def make_run(folder: Path, text_tower: str) -> Path:
    """The run folder of a tiny speech and text model, trained for one step on eight tones."""
    folder.mkdir()
    rows = []
    for at in range(8):
        tone = np.sin(2 * np.pi * 200 * (at + 1) * np.arange(4000) / 8000)
        soundfile.write(folder / f"{at}.wav", 0.2 * tone, 8000)
        rows.append({"id": str(at), "speech": f"{at}.wav", "text": f"tone number {at}"})
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "config.yaml").write_text(
        f"output: {folder / 'run'}\ndata: {{train: {folder / 'train.jsonl'}, buckets: 1}}\n"
        f"towers:\n  speech: {SPEECH}\n  text: {text_tower}\npairs: [[speech, text]]\nobjective: {{kind: infonce}}\n"
        "train: {steps: 1, batch_size: 4, trackers: [], threads: 1}\n"
    )
    Trainer(load_config(folder / "config.yaml")).fit()
    return folder / "run"


def tiny_bert(folder: Path) -> Path:
    """A random BERT of two layers and its tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "tone": 2, "number": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=4, max_position_embeddings=64, **sizes)).save_pretrained(folder)
    return folder


def main(argv: list[str]) -> None:
    """Measure, print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round, for tests")
    options = parser.parse_args(argv)
    rounds = 1 if options.quick else 10
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = {
            OWN: make_run(folder / "own", "{kind: text_encoder, width: 32, layers: 1, heads: 2}"),
            TRANSFORMERS: make_run(folder / "bert", f"{{kind: transformers, name: {tiny_bert(folder / 'model')}}}"),
        }
        works = {TORCH: "import torch"} | {
            name: f"import xmodal; xmodal.load({str(run)!r}).encode('text', ['tone number one'])"
            for name, run in runs.items()
        }
        times: dict[str, list[float]] = {name: [] for name in works}
        for round_ in range(rounds + 1):  # the first one warms the disk's cache and does not count
            for name, code in works.items():
                seconds = cpu_seconds(code)
                times[name] += [seconds] if round_ else []
    print(f"CPU seconds of a fresh process, {rounds} rounds; target: {TARGET} times import torch with own towers")
    print(measure.table(times, unit=1, label="s"))
    measure.finish(
        {
            "benchmark": "start",
            "rounds": rounds,
            "torch_seconds": round(float(np.median(times[TORCH])), 3),
            "start_over_torch": measure.ratio(times, OWN, TORCH),
            "start_transformers_over_torch": measure.ratio(times, TRANSFORMERS, TORCH),
            **measure.machine(),
        }
    )


if __name__ == "__main__":
    sys.exit(run_script(main))
