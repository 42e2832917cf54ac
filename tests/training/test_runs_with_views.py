"""Whole runs on one side's own similarity: windows of recordings, other wordings of texts, live and out of a store."""

import json
from pathlib import Path

import numpy as np
import pytest
from test_runs_with_clusters import die_at, equal, start

from xmodal.config.load import load_config
from xmodal.data.views.text import Rewording
from xmodal.encoding.stores.build import build_store
from xmodal.errors import UserError
from xmodal.store import content_id, view_id
from xmodal.towers import build_tower

QUIET = ["evaluators={}", "train.save_every=4"]


def losses(run: Path) -> list[float]:
    return [json.loads(line)["train/loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_neighbouring_windows_teach_a_tower_alone(tiny_config: Path, tmp_path: Path) -> None:
    lines = [line for line in tiny_config.read_text().splitlines() if not line.startswith("  text:")]
    tiny_config.write_text("\n".join(lines))
    speech = "data.modalities.speech={kind: audio, training_views: 2, windows: {seconds: 0.15, gap: 0.02}}"
    common = ["objective={kind: nt_xent, on: [speech]}", speech, *QUIET, "train.trackers=[jsonl]", "optim.lr=1e-2"]
    trainer, made = start(tiny_config, tmp_path / "whole", *common, "train.steps=20")
    trainer.fit()
    found = losses(tmp_path / "whole")
    assert found[-1] < found[0]
    assert any("are shorter than the 0.32 s of 2 windows" in note for note in trainer.dataset.tally.notes)
    assert made[0].view("speech", 0).keys() == made[0].view("speech", 1).keys()
    die_at(start(tiny_config, tmp_path / "run", *common, "train.steps=20")[0], 6)
    start(tiny_config, tmp_path / "run", *common, "train.steps=20", "train.resume=true", "data.workers=1")[0].fit()
    equal(tmp_path / "run", tmp_path / "whole")


def test_other_wordings_teach_a_text_tower_alone(tiny_config: Path, tmp_path: Path) -> None:
    text = "data.modalities.text={kind: text, training_views: 2, augment: {word_dropout: 0.2, word_swap: 0.2}}"
    towers = "towers={text: {kind: text_encoder, width: 16, layers: 1, heads: 2, feed_forward: 32}}"
    lines = tiny_config.read_text().splitlines()
    keep = [line for line in lines if not line.startswith((" ", "towers", "evaluators")) or "train:" in line]
    tiny_config.write_text("\n".join(keep) + f"\n{towers.replace('=', ': ', 1)}\n")
    common = ["objective={kind: nt_xent, on: [text]}", text, "train.steps=20", "train.trackers=[jsonl]", *QUIET]
    start(tiny_config, tmp_path / "run", *common, "optim.lr=1e-2")[0].fit()
    found = losses(tmp_path / "run")
    assert found[-1] < found[0]


def stored(tiny_bert: Path, tmp_path: Path, views: int, **augment: object) -> list[str]:
    path, tower = tmp_path / "store", f"{{kind: transformers, name: {tiny_bert}}}"
    return [
        f"towers.text={{kind: store, path: {path}, views: {views}, tower: {tower}}}",
        f"data.modalities.text={{kind: text, augment: {json.dumps(augment)}}}",
        "evaluators={}",
    ]


def test_a_store_holds_a_text_and_wordings_of_it(tiny_config: Path, tiny_bert: Path, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("music: [some]\nlights: [alarm]\n")
    overrides = stored(tiny_bert, tmp_path, 3, word_dropout=0.3, synonyms=str(tmp_path / "s.yaml"), synonym=0.9)
    config = load_config(tiny_config, overrides)
    store = build_store(config.towers["text"], config, "text")  # type: ignore[arg-type]
    tower, processor = build_tower(config.towers["text"].live)
    spec = config.modality("text").augment
    reword = Rewording(spec, {"music": ("some",), "lights": ("alarm",)})  # type: ignore[arg-type]
    for text in ("play the music now", "set the lights please"):
        names = [view_id(content_id(text), view, 3) for view in range(3)]
        said = [text, *(reword(text, np.random.default_rng(name % 2**63)) for name in names[1:])]
        for name, wording in zip(names, said, strict=True):
            want = tower.features(processor.collate([processor.features(wording)]))[0].detach().numpy()
            np.testing.assert_allclose(store.rows(np.array([name]))[0], want, atol=1e-5)
    start(tiny_config, tmp_path / "run", *overrides, "train.steps=2")[0].fit()
    (tmp_path / "s.yaml").write_text("music: [the]\n")  # under the same name another table
    with pytest.raises(UserError, match=r"made with preprocessing augment"):
        build_store(config.towers["text"], config, "text")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("views", "augment", "told"),
    [
        (1, {"word_dropout": 0.1}, r"augment: towers\.text is read from a store and sees no .* kind: transformers"),
        (2, {}, r"towers\.text\.views: all would be the same: set data\.modalities\.text\.augment"),
        (2, {"alternatives": "back"}, r"alternatives: towers\.text is read from a store, .* a list of all wordings"),
        (2, {"span_masks": 1}, r"the tokenizer of towers\.text has no mask token; .*span_as=nothing"),
        (2, {"word_dropout": 0.1, "synonyms": "none.yaml"}, r"none\.yaml: no such file"),
    ],
)  # fmt: skip
def test_wordings_that_a_store_cannot_hold(
    views: int, augment: dict, told: str, tiny_config: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=told):
        start(tiny_config, tmp_path / "run", *stored(tiny_bert, tmp_path, views, **augment))


def test_windows_of_a_store(tiny_config: Path, tmp_path: Path) -> None:
    tower = "{kind: transformers, name: some/model}"
    speech = f"{{kind: store, path: {tmp_path / 'store'}, head: {{kind: linear}}, tower: {tower}}}"
    with pytest.raises(UserError, match=r"windows: towers\.speech is read from a store, which holds whole recordings"):
        load_config(
            tiny_config, [f"towers.speech={speech}", "data.modalities.speech={kind: audio, windows: {seconds: 0.1}}"]
        )
