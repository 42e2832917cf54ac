"""Pictures of four plain colours, and runs that learn them in a second."""

from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from xmodal.config.load import load_config
from xmodal.files import write_json_lines
from xmodal.report.report import Report
from xmodal.training.trainer import Trainer

COLOURS = {"red": (230, 30, 30), "blue": (30, 30, 230), "zero": (30, 230, 30), "one": (200, 200, 40)}
CAPTIONS = ("play the {c}", "the {c} now", "set {c} on")  # words that the tiny text model knows


def make_pictures(folder: Path) -> Path:
    """Noisy, tinted pictures, 40 to train on and 24 to test, and what scripts ask of a folder of data.

    train.jsonl and test.jsonl (id, image, label, text: a list), prompts.yaml (three templates, none of them a
    caption's), and photos/LABEL/N.png: the test once more, as class folders.
    """
    rng = np.random.default_rng(0)
    rows = []
    for n in range(64):
        label, colour = list(COLOURS.items())[n % 4]
        tint = rng.normal(0, 80, 3)  # so much that some are mistaken
        pixels = np.clip(np.array(colour) + tint + rng.normal(0, 25, (40, 48, 3)), 0, 255).astype(np.uint8)
        name = f"train/{n}.png" if n < 40 else f"photos/{label}/{n}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
        text = [caption.replace("{c}", label) for caption in CAPTIONS]
        rows.append({"id": f"p{n}", "image": name, "label": label, "text": text})
    write_json_lines(folder / "train.jsonl", rows[:40])
    write_json_lines(folder / "test.jsonl", rows[40:])
    (folder / "prompts.yaml").write_text("- 'some {c}'\n- '{c}'\n- '{c} please'\n")
    return folder


def train(output: Path, pictures: Path, text_model: Path, objective: str = "infonce", steps: int = 40) -> Report:
    """A run in `output`, with an evaluator of each kind that images have: `seen` and `found`."""
    test = str(pictures / "test.jsonl")
    content = {
        "output": str(output),
        "data": {"train": str(pictures / "train.jsonl")},
        "towers": {
            "image": {"kind": "image_encoder", "image_size": 16, "widths": [8, 16], "norm": "group"},
            "text": {"kind": "transformers", "name": str(text_model)},
        },
        "objective": {"kind": objective},
        "optim": {"lr": 5e-3},
        "train": {"steps": steps, "batch_size": 16, "threads": 1, "log_every": 10},
        "evaluators": {
            "seen": {"kind": "zero_shot", "test": test, "prompts": str(pictures / "prompts.yaml"), "trained": True},
            "found": {"kind": "retrieval", "test": test},
        },
    }
    path = output.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(content))
    report = Trainer(load_config(path)).fit()
    assert report is not None
    return report
