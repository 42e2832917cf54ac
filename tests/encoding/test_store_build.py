"""Stores against live towers: resumed, refused, made again.

Over 300 lines: all of it is about one function, on the same two stores.
"""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from embedding_texts import by_hand, some_texts
from safetensors.torch import load_file, save_file

from xmodal.config import dump_config
from xmodal.config.data import AudioModality, TextModality
from xmodal.config.schema import RunConfig
from xmodal.config.tower import TowerSpec
from xmodal.data.audio import read_audio
from xmodal.data.dataset import PairDataset
from xmodal.encoding.embedding import BATCH_SIZE
from xmodal.encoding.stores.build import build_store
from xmodal.errors import UserError, run_script
from xmodal.store import EmbeddingStore, content_id
from xmodal.towers import build_tower
from xmodal.towers.heads import Identity
from xmodal.towers.huggingface.text import TextBackbone
from xmodal.towers.kinds.store import StoreTower
from xmodal.towers.kinds.transformers import TransformersTower
from xmodal.towers.own.speech_encoder import SpeechEncoderTower
from xmodal.towers.weights import save_backbone

ROOT = Path(__file__).resolve().parents[2]


def write_rows(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def config_for(folder: Path, tower: TowerSpec, modality: str = "text") -> RunConfig:
    other = "speech" if modality == "text" else "text"
    live = {"kind": "speech_encoder"} if other == "speech" else {"kind": "transformers", "name": "x", "mode": "scratch"}
    return RunConfig.model_validate(
        {
            "output": folder / "run",
            "data": {"train": folder / "train.jsonl"},
            "towers": {modality: {"kind": "store", "path": folder / "store", "tower": tower.model_dump()}, other: live},
        }
    )


def make(config: RunConfig, modality: str = "text", remake: bool = False) -> EmbeddingStore:
    spec = config.towers[modality]
    assert isinstance(spec, StoreTower.Spec)
    return build_store(spec, config, modality, remake=remake)


@pytest.fixture
def text_config(tiny_bert: Path, tmp_path: Path) -> RunConfig:
    """200 rows over 150 texts."""
    texts = list(dict.fromkeys(some_texts(400)))[:150]
    write_rows(tmp_path / "train.jsonl", [{"id": f"r{i}", "text": texts[i % 150]} for i in range(200)])
    return config_for(tmp_path, TransformersTower.Spec(name=str(tiny_bert)))


def texts_of(config: RunConfig) -> list[str]:
    return [json.loads(line)["text"] for line in config.data.train.read_text().splitlines()]


def test_a_store_holds_every_item_once_as_the_model_gives_it(text_config: RunConfig, tiny_bert: Path) -> None:
    store = make(text_config)
    texts = texts_of(text_config)
    assert (len(store), store.width, len(texts)) == (150, 32, 200)
    assert store.info["model"] == str(tiny_bert)
    for text in texts[:200:23]:
        row = torch.from_numpy(store.rows(np.array([content_id(text)]))[0])
        torch.testing.assert_close(row, by_hand(tiny_bert, text), rtol=1e-4, atol=1e-5)


def test_a_tower_read_from_the_store_says_what_the_live_tower_says(text_config: RunConfig) -> None:
    make(text_config)
    spec = text_config.towers["text"]
    assert isinstance(spec, StoreTower.Spec)
    texts = texts_of(text_config)[:40]
    live, processor = build_tower(spec.tower)
    stored, lookup = build_tower(spec)
    assert lookup.describe() == processor.describe()
    with torch.no_grad():
        expected = live(processor.collate([processor.features(text) for text in texts]))
        found = stored(lookup.collate([lookup.features(content_id(text)) for text in texts]))
    torch.testing.assert_close(found.z, expected.z)
    torch.testing.assert_close(found.guide, expected.guide)
    assert stored.guides


def test_a_store_that_matches_is_opened_not_made(text_config: RunConfig) -> None:
    folder = make(text_config).folder
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    rows = [json.loads(line) for line in text_config.data.train.read_text().splitlines()]
    write_rows(text_config.data.train, rows[::-1])  # the order of the manifest is not its content
    make(text_config)
    make(text_config, remake=True)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert set(before) == {"ids.npy", "rows.npy", "store.json"}


@pytest.mark.parametrize("difference", ["model", "weights", "preprocessing max_length", "other data"])
def test_a_store_made_otherwise_is_refused_then_made_again(
    text_config: RunConfig, tiny_bert: Path, tmp_path: Path, difference: str
) -> None:
    model = shutil.copytree(tiny_bert, tmp_path / "model")
    config = config_for(tmp_path, TransformersTower.Spec(name=str(model)))
    old = make(config).info
    if difference == "model":
        model = model.rename(tmp_path / "renamed")
        config = config_for(tmp_path, TransformersTower.Spec(name=str(model)))
    if difference == "weights":
        weights = load_file(model / "model.safetensors")
        weights["embeddings.word_embeddings.weight"][3, 0] += 1
        save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    if difference == "preprocessing max_length":
        config = config_for(tmp_path, TransformersTower.Spec(name=str(model), max_length=4))
    if difference == "other data":
        rows = [json.loads(line) for line in config.data.train.read_text().splitlines()]
        write_rows(config.data.train, rows[:149])
    with pytest.raises(UserError, match=f"store: made (with|from) {difference}.*embed-frozen") as error:
        make(config)
    assert "\n" not in str(error.value)
    new = make(config, remake=True)
    assert new.info != old
    make(config)


def interrupt_at(monkeypatch: pytest.MonkeyPatch, batch: int) -> list[int]:
    """Let the text backbone stop the program at this batch; returns the batch sizes it has seen."""
    seen: list[int] = []
    forward = TextBackbone.forward

    def stopping(self: TextBackbone, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        if len(seen) == batch:
            raise KeyboardInterrupt
        features = forward(self, inputs)
        seen.append(len(features))
        return features

    monkeypatch.setattr(TextBackbone, "forward", stopping)
    return seen


def test_an_interrupted_build_goes_on_and_gives_the_same_bits(
    text_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make(text_config)
    expected = {name: (whole.folder / name).read_bytes() for name in ("ids.npy", "rows.npy")}
    shutil.rmtree(whole.folder)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            make(text_config)
    with pytest.raises(UserError, match="unfinished"):
        EmbeddingStore.open(whole.folder)
    seen = interrupt_at(monkeypatch, 99)
    store = make(text_config)
    assert seen == [BATCH_SIZE, 150 - 2 * BATCH_SIZE]  # the first batch was kept
    assert {name: (store.folder / name).read_bytes() for name in expected} == expected
    assert {path.name for path in store.folder.iterdir()} == {"ids.npy", "rows.npy", "store.json"}


def test_a_build_begun_with_another_model_starts_over(
    text_config: RunConfig, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt_at(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            make(text_config)
    seen = interrupt_at(monkeypatch, 99)
    make(config_for(tmp_path, TransformersTower.Spec(name=str(tiny_bert), pooling="cls")))
    assert sum(seen) == 150


def test_one_item_id_with_two_contents_names_both_rows(tiny_bert: Path, tmp_path: Path) -> None:
    rows = [
        {"id": "a", "text": "stop it", "text_id": "s1"},
        {"id": "b", "text": "stop it", "text_id": "s1"},
        {"id": "c", "text": "play music", "text_id": "s2"},
    ]
    config = config_for(tmp_path, TransformersTower.Spec(name=str(tiny_bert)))
    write_rows(config.data.train, rows)
    assert sorted(make(config).ids) == sorted([content_id("s1"), content_id("s2")])
    rows[1]["text"] = "stop now"
    write_rows(config.data.train, rows)
    with pytest.raises(UserError, match=r"rows 'a' and 'b' have the same text_id and a different text"):
        make(config, remake=True)


def test_features_that_are_not_finite_name_the_row(text_config: RunConfig, tiny_bert: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_bert, tmp_path / "broken")
    weights = load_file(model / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][:] = torch.nan
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"train.jsonl: row 'r\d+': the text tower's features are not finite"):
        make(config_for(tmp_path, TransformersTower.Spec(name=str(model))))


@pytest.fixture
def speech_config(tmp_path: Path) -> RunConfig:
    """Three wav files, a locked speech encoder with random weights."""
    torch.manual_seed(0)
    spec = SpeechEncoderTower.Spec(
        sample_rate=8000, high=3900, width=16, heads=2, layers=1, feed_forward=32, head=Identity.Spec()
    )
    tower, _ = build_tower(spec)
    save_backbone(tower.backbone, tmp_path / "speech")
    rows = []
    for i in range(3):
        wave = np.random.default_rng(i).standard_normal(4000 + 2000 * i) / 10
        soundfile.write(tmp_path / f"{i}.wav", wave, 8000)
        rows.append({"id": f"r{i}", "speech": f"{i}.wav"})
    write_rows(tmp_path / "train.jsonl", rows)
    return config_for(tmp_path, spec.model_copy(update={"mode": "locked", "weights": tmp_path / "speech"}), "speech")


def test_audio_is_stored_by_its_path(speech_config: RunConfig, tmp_path: Path) -> None:
    store = make(speech_config, "speech")
    spec = speech_config.towers["speech"]
    assert isinstance(spec, StoreTower.Spec)
    tower, processor = build_tower(spec.tower)
    for i in range(3):
        with torch.no_grad():
            inputs = processor.collate([processor.features(read_audio(tmp_path / f"{i}.wav", 8000))])
            expected = tower.features(inputs)
        found = store.rows(np.array([content_id(f"{i}.wav")]))
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_unusable_audio_is_named_before_the_work(speech_config: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "1.wav").write_bytes(b"no audio")
    (tmp_path / "2.wav").unlink()
    with pytest.raises(UserError, match=r"2 of 3 items .* cannot be used, .*\.wav: no such file") as error:
        make(speech_config, "speech")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "store").exists()


def test_audio_that_fails_when_decoded_is_named(speech_config: RunConfig, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "1.wav", np.full(4000, np.nan, np.float32), 8000, subtype="FLOAT")
    with pytest.raises(UserError, match=r"train.jsonl: 1 of 3 items .*1\.wav.*NaN.*mend or remove"):
        make(speech_config, "speech")


def test_a_tower_of_the_wrong_kind_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    config = config_for(tmp_path, TransformersTower.Spec(name=str(tiny_bert)), "speech")
    with pytest.raises(UserError, match=r"towers.speech.tower: takes text, but the modality 'speech' is audio"):
        make(config, "speech")


def test_a_store_names_the_versions_of_what_made_it(speech_config: RunConfig) -> None:
    versions = make(speech_config, "speech").info["made"]
    assert {"torch", "xmodal"} <= versions.keys()
    assert "transformers" not in versions  # it had no part in it


def test_what_the_tower_cuts_is_told_once(tiny_bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"id": f"r{n}", "text": "play music " * n} for n in range(1, 9)]
    config = config_for(tmp_path, TransformersTower.Spec(name=str(tiny_bert), max_length=6))
    write_rows(config.data.train, rows)
    versions = make(config).info["made"]
    assert {"torch", "xmodal", "transformers"} <= versions.keys()
    [line] = [record.getMessage() for record in caplog.records if "cut short" in record.getMessage()]
    assert "text: 5 of 8 items are cut short" in line
    assert "tokens cut to 6" in line


# --------------------------------------------------------------------------------------------------------- the script


def test_the_script_makes_the_stores_of_a_config(
    text_config: RunConfig, tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    spec = importlib.util.spec_from_file_location("embed_frozen", ROOT / "data_prep" / "embed_frozen.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(text_config))
    assert run_script(script.main, [str(path)]) == 0
    assert f"{tmp_path / 'store'}: 150 text items, 32 features each" in capsys.readouterr().out
    assert run_script(script.main, [str(path), "towers.text.tower.max_length=3"]) == 0  # made again
    assert EmbeddingStore.open(tmp_path / "store").info["preprocessing"]["max_length"] == 3
    live = json.dumps({"kind": "transformers", "name": str(tiny_bert)})
    assert run_script(script.main, [str(path), f"towers.text={live}"]) == 2
    assert "no tower of kind store" in capsys.readouterr().err


def test_lengths_hold_for_what_is_stored_too(speech_config: RunConfig) -> None:
    limits = AudioModality(min_seconds=0.6, max_seconds=0.8)  # of recordings of 0.5, 0.75 and 1 s
    data = speech_config.data.model_copy(update={"modalities": {"speech": limits}, "max_bad": 0.9})
    store = make(speech_config.model_copy(update={"data": data}), "speech")
    assert store.ids.tolist() == [content_id("1.wav")]
    with pytest.raises(UserError, match="preprocessing"):  # another store than one of all lengths
        make(speech_config, "speech")


def test_what_the_tower_cut_is_told_of_its_store_too(tiny_bert: Path, tmp_path: Path) -> None:
    rows = [{"id": f"r{i}", "text": "play the music " * length} for i, length in enumerate((1, 50, 60))]
    write_rows(tmp_path / "train.jsonl", rows)
    config = config_for(tmp_path, TransformersTower.Spec(name=str(tiny_bert)))
    store = make(config)
    assert [each["count"] for each in store.info["cut"]] == [2]
    spec = config.towers["text"]
    _, processor = build_tower(spec)
    dataset = PairDataset(config.data, {"text": TextModality()}, {"text": processor}, seed=0)
    assert sum(counted.count for counted in dataset.tally.cut.values()) == 2
