"""Every objective of the registry in a real run: in chunks, and killed and resumed to the bit.

Those that are functions of a batch and nothing else differ in the loss alone: one of them runs by default, and of the
others each on the most sides it takes; all of them run with `-m slow`.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from xmodal.config.kinds import OBJECTIVES
from xmodal.config.load import load_config
from xmodal.training.trainer import Trainer

SMALL = {"queue": 16, "hidden": 8}  # settings whose defaults are for larger data


def cases() -> list[Any]:
    """(kind, sides) of every kind, on as many sides as it takes."""
    found: list[Any] = []
    for kind in OBJECTIVES.own:
        least, most = OBJECTIVES.find(kind).Spec.takes
        for count in range(least, min(most, 2) + 1):
            fast = kind == "infonce" or (count == min(most, 2) and asks_or_holds(kind, ["speech", "text"][:count]))
            marks = [] if fast else [pytest.mark.slow]
            found.append(pytest.param(kind, count, marks=marks))
    return found


def asks_or_holds(kind: str, sides: list[str]) -> bool:
    """Does it need something of a run besides labels and views, or hold a state between steps?"""
    spec = OBJECTIVES.find(kind).Spec()
    asked = {need.what for need in spec.needs(*sides)} - {"labels", "views"}
    made = OBJECTIVES.build(spec)
    made.prepare([tuple(sides)], dict.fromkeys(sides, 4))
    return bool(asked or list(made.buffers()) or made.outer_parameters())


def overrides(kind: str, sides: int) -> list[str]:
    """What a config over two towers needs for a term of this kind."""
    spec = OBJECTIVES.find(kind).Spec
    settings = "".join(f", {name}: {value}" for name, value in SMALL.items() if name in spec.model_fields)
    on = ["speech", "text"][:sides]
    term = f"{{kind: {kind}, on: [{', '.join(on)}]{settings}}}"
    needs = {(need.what, need.side): need for need in spec().needs(*on)}
    found = [f"objective={{align: {{kind: infonce}}, it: {term}}}" if sides == 1 else f"objective={{it: {term}}}"]
    if ("views", "speech") in needs:
        found.append(f"data.modalities.speech.training_views={needs['views', 'speech'].amount}")
    if ("sequence", "speech") in needs:
        head = "{kind: transformer, stack: 2, hidden: 16, layers: 1, heads: 2, feed_forward: 16}"
        found.append(f"towers.speech.head={head}")
    if ("target", "speech") in needs or ("predicted", "speech") in needs:
        momentum = "0.9" if ("target", "speech") in needs else "null"
        predictor = ", predictor: {kind: mlp, hidden: 8}" if ("predicted", "speech") in needs else ""
        found.append(f"targets={{speech: {{momentum: {momentum}{predictor}}}}}")
    if ("codes", "speech") in needs:
        found.append("towers.speech.head={kind: quantizer, entries: 4, code_width: 8}")
    if has_outer_problem(kind, on):
        found += ["train.step=bilevel", "train.virtual_lr=0.1"]
    return found


def has_outer_problem(kind: str, sides: list[str]) -> bool:
    """Are there parameters that its outer loss trains?"""
    made = OBJECTIVES.build(OBJECTIVES.find(kind).Spec())
    made.prepare([tuple(sides)], dict.fromkeys(sides, 4))
    return bool(made.outer_parameters())


def teachers(kind: str, sides: int, tiny_config: Path, folder: Path) -> list[str]:
    """A run of one step as the teacher of each side that a term of this kind asks one of."""
    on = ["speech", "text"][:sides]
    taught = [need.side for need in OBJECTIVES.find(kind).Spec().needs(*on) if need.what == "teacher"]
    if not taught:
        return []
    run = folder / "teacher"
    small = ["objective={kind: infonce}", "evaluators={}", "train.trackers=[]", "train.steps=1", f"output={run}"]
    Trainer(load_config(tiny_config, small)).fit()
    return [
        f"teachers.{side}={{kind: store, path: {folder / side}, tower: {{kind: run, path: {run}, side: {side}}}}}"
        for side in taught
    ]


@pytest.mark.parametrize(("kind", "sides"), cases())
def test_a_run_in_chunks_goes_on_to_the_bit_after_a_kill(
    kind: str, sides: int, tiny_config: Path, tmp_path: Path
) -> None:
    taught = teachers(kind, sides, tiny_config, tmp_path)
    common = [
        *overrides(kind, sides),
        *taught,
        "evaluators={}",
        "train.trackers=[]",
        "train.steps=4",
        "train.save_every=2",
    ]

    def run(name: str, *more: str) -> Trainer:
        return Trainer(load_config(tiny_config, [*common, f"output={tmp_path / name}", *more]))

    run("whole", "train.chunk=4").fit()
    broken = run("broken", "train.chunk=4")
    step, made = broken.stepper.step, []

    def step_or_die(batch):  # type: ignore[no-untyped-def]
        made.append(batch)
        if len(made) == 3:
            raise KeyboardInterrupt
        return step(batch)

    broken.stepper.step = step_or_die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        broken.fit()
    run("broken", "train.chunk=4", "train.resume=true").fit()
    whole, resumed = (newest(tmp_path / name) for name in ("whole", "broken"))
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
        assert torch.isfinite(value).all(), name


def newest(run: Path) -> dict[str, torch.Tensor]:
    """What the last checkpoint holds: towers, targets, terms."""
    [checkpoint] = (run / "checkpoints").iterdir()
    return load_file(checkpoint / "model.safetensors")
