"""Towers that are ONNX graphs: equal to torch, for every sort of input and output, and what is refused."""

import copy
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from onnx_graphs import KERNEL, RATE, STRIDE, G, filters, frames_of, pictures, saved, tokens, waves
from pydantic import ValidationError
from tiny_models import TEXTS, batch, bert_folder, check_padding, features, images, rebuilt
from torch import Tensor

from xmodal.encoding.fingerprint import fingerprint_of
from xmodal.errors import UserError
from xmodal.towers import build_tower
from xmodal.towers.onnx_graph.kind import OnnxTower

AUDIO = {"sample_rate": RATE, "shortest": KERNEL}
LENGTHS = [500, 1200, 500, 799, 41]


def spoken(seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(length).astype(np.float32) for length in LENGTHS]


def spec(path: Path, **settings: object) -> OnnxTower.Spec:
    return OnnxTower.Spec(path=path, **({"audio": AUDIO} | settings))


@pytest.mark.parametrize("told", ["", "lengths", "mask"])
@pytest.mark.parametrize("pooled", [False, True])
def test_waveforms_of_any_length(tmp_path: Path, told: str, pooled: bool) -> None:
    if pooled and told:
        return  # the mean of a padded sequence: a graph that would have to know its lengths
    tower, processor = build_tower(spec(waves(tmp_path / "a.onnx", pooled, told)))
    assert (tower.width, tower.locked, list(tower.parameters())) == (G, True, [])
    expected = [frames_of(torch.from_numpy(wave), filters()) for wave in spoken()]
    inputs = batch(processor, spoken())
    assert hasattr(tower.backbone, "sequence") is not pooled
    if not pooled:
        found = tower.sequence(inputs)
        if told != "mask":  # which leaves the lengths to proportion
            assert found.lengths.tolist() == [len(each) for each in expected]
            for one, other in zip(found.each(), expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
        else:
            assert found.lengths.tolist() == [-(-n * found.values.shape[1] // max(LENGTHS)) for n in LENGTHS]
    if told != "mask":
        means = torch.stack([each.mean(0) for each in expected])
        torch.testing.assert_close(features(tower, processor, spoken()), means, rtol=1e-5, atol=1e-5)
        check_padding(tower, processor, spoken())
    again, _ = rebuilt(spec(tmp_path / "a.onnx"), tower, processor, tmp_path / "run")
    (tmp_path / "a.onnx").unlink()
    assert torch.equal(again.features(inputs), tower.features(inputs))


def test_a_graph_that_takes_one_item_at_a_time(tmp_path: Path) -> None:
    free, processor = build_tower(spec(waves(tmp_path / "free.onnx")))
    one, _ = build_tower(spec(waves(tmp_path / "one.onnx", batch=1)))
    inputs = batch(processor, spoken())
    torch.testing.assert_close(one.features(inputs), free.features(inputs))


def test_short_and_normalised_waveforms(tmp_path: Path) -> None:
    """As the layer normalisation over time that wav2vec 2.0's larger models ask for; silence is no error."""
    tower, processor = build_tower(spec(waves(tmp_path / "a.onnx"), audio=AUDIO | {"normalize": True}))
    wave = spoken()[0] * 7 + 3
    expected = torch.nn.functional.layer_norm(torch.from_numpy(wave), [len(wave)])
    torch.testing.assert_close(torch.from_numpy(processor.features(wave)), expected, rtol=1e-4, atol=1e-4)
    assert [len(processor.features(np.zeros(n, np.float32))) for n in (1, KERNEL, 50)] == [KERNEL, KERNEL, 50]
    assert torch.equal(features(tower, processor, [np.zeros(1, np.float32)]), torch.zeros(1, G))


def test_images(tmp_path: Path) -> None:
    path, weight = pictures(tmp_path / "a.onnx")
    image = {"size": 16, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}
    tower, processor = build_tower(OnnxTower.Spec(path=path, image=image))
    pixels = batch(processor, images())["pixels"]
    raw = np.stack([processor.features(each) for each in images()]).astype(np.float64)
    by_hand = (raw / 255 - np.reshape(image["mean"], (3, 1, 1))) / np.reshape(image["std"], (3, 1, 1))
    np.testing.assert_allclose(pixels.numpy(), by_hand, atol=1e-5)
    expected = torch.nn.functional.conv2d(pixels, weight, stride=8).mean((2, 3))
    torch.testing.assert_close(features(tower, processor, images()), expected, rtol=1e-4, atol=1e-5)
    rebuilt(OnnxTower.Spec(path=path, image=image), tower, processor, tmp_path / "run")


def test_texts(tmp_path: Path) -> None:
    bert = Path(bert_folder(tmp_path / "bert"))
    path, table = tokens(tmp_path / "a.onnx", 40)
    given = OnnxTower.Spec(path=path, text={"max_length": 6}, tokenizer=bert)
    tower, processor = build_tower(given)
    from transformers import AutoTokenizer

    ids = [AutoTokenizer.from_pretrained(bert)(text, truncation=True, max_length=6)["input_ids"] for text in TEXTS]
    expected = torch.stack([table[torch.tensor(each)].mean(0) for each in ids])
    torch.testing.assert_close(features(tower, processor, TEXTS), expected)
    check_padding(tower, processor, TEXTS)
    assert [processor.cut(text) for text in TEXTS] == [None, None, "text of 14 tokens cut to 6", None, None]
    rebuilt(given, tower, processor, tmp_path / "run")


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    def found(path: Path, **settings: object) -> str:
        given = spec(path, **settings)
        return fingerprint_of(*build_tower(given), given.model_dump(mode="json"))

    first = found(waves(tmp_path / "a.onnx"))
    shutil.copyfile(tmp_path / "a.onnx", tmp_path / "b.onnx")
    assert found(tmp_path / "b.onnx") == first
    assert found(waves(tmp_path / "c.onnx", seed=1)) != first
    assert found(tmp_path / "a.onnx", audio=AUDIO | {"normalize": True}) != first


def test_data_beside_the_graph(tmp_path: Path) -> None:
    """They belong to the graph: copied with it, in its fingerprint, and missed."""
    beside = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 100}
    path = waves(tmp_path / "a.onnx", **beside)
    tower, processor = build_tower(spec(path))
    expected = features(tower, processor, spoken())
    again, _ = rebuilt(spec(path), tower, processor, tmp_path / "run")
    assert sorted(each.name for each in (tmp_path / "run").iterdir()) == ["model.onnx", "weights.bin"]
    other = tmp_path / "other"
    other.mkdir()
    waves(other / "a.onnx", seed=1, **beside)
    assert build_tower(spec(other / "a.onnx"))[0].fingerprint() != tower.fingerprint()
    for each in ("a.onnx", "weights.bin"):
        (tmp_path / each).unlink()
    assert torch.equal(features(again, processor, spoken()), expected)
    (tmp_path / "run" / "weights.bin").unlink()
    with pytest.raises(UserError, match=r"model\.onnx: its external data 'weights\.bin' are not beside it"):
        build_tower(spec(tmp_path / "run" / "model.onnx"))
    model = onnx.load_model(str(other / "a.onnx"), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "../weights.bin" if entry.key == "location" else entry.value
    (tmp_path / "weights.bin").write_bytes(bytes(2000))
    (other / "b.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=r"'\.\./weights\.bin' lie outside its folder"):
        build_tower(spec(other / "b.onnx"))


def test_a_copy_of_the_tower_shares_the_graph(tmp_path: Path) -> None:
    """As a momentum target makes one."""
    head = {"kind": "transformer", "stack": 2, "hidden": 8, "layers": 1, "feed_forward": 8, "heads": 2}
    tower, processor = build_tower(spec(waves(tmp_path / "a.onnx"), head=head), out_dim=5)
    inputs = batch(processor, spoken())
    copied = copy.deepcopy(tower.eval())
    assert torch.equal(copied(inputs).z, tower(inputs).z)
    tower(inputs).z.sum().backward()
    assert all(parameter.grad is not None for parameter in tower.parameters())


def same(path: Path, **value: tuple[int, list]) -> Path:
    """A graph whose output is its input, of the type and shape given."""
    [(name, (kind, shape))] = value.items()
    return saved(path, [helper.make_node("Identity", [name], ["y"])], [(name, kind, shape)], [("y", kind, shape)], {})


def text(path: Path) -> Path:
    path.write_text("no graph at all")
    return path


def empty(path: Path) -> Path:
    path.touch()
    return path


def foreign(path: Path) -> Path:
    node = helper.make_node("Wavelet", ["wave"], ["y"], domain="com.somebody")
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", "t"]) for name in ("wave", "y")]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.somebody", 1)]
    model = helper.make_model(helper.make_graph([node], "x", value[:1], value[1:]), opset_imports=opsets, ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


F32 = TensorProto.FLOAT
REFUSED = {
    "absent": (lambda p: p, {}, r"a\.onnx: no such file"),
    "text": (text, {}, r"a\.onnx: not an ONNX graph .*export the encoder"),
    "empty": (empty, {}, r"a\.onnx: not an ONNX graph \(it has no output\)"),
    "operator": (foreign, {}, r"onnxruntime \S+ cannot load this graph .*Wavelet.*standard operators"),
    "mels": (
        lambda p: same(p, mels=(F32, ["b", 80, "t"])), {},
        r"its input mels float \[b, 80, t\] cannot be fed: a tower of audio gives waveforms \[B, T\]",
    ),
    "length": (lambda p: same(p, wave=(F32, ["b", 800])), {}, r"wave float \[b, 800\] has a fixed batch or length"),
    "batch": (lambda p: same(p, wave=(F32, [4, "t"])), {}, r"wave float \[4, t\] has a fixed batch or length"),
    "size": (
        lambda p: pictures(p)[0], {"audio": None, "image": {"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3}},
        r"pixels float \[b, 3, 16, 16\] cannot be fed: a tower of image gives pixels \[B, 3, 32, 32\]",
    ),
    "rank": (
        lambda p: pictures(p)[0], {}, r"pixels float \[b, 3, 16, 16\] cannot be fed: a tower of audio",
    ),
    "output": (waves, {"output": "logits"}, r"has no output 'logits'; set output to one of frames float \[b, s, 6\]"),
    "integers": (
        lambda p: waves(p, told="lengths"), {"output": "counts"}, r"output 'counts' of one item is int64 \[1\]",
    ),
    "tokenizer": (
        lambda p: tokens(p, 9)[0], {"audio": None, "text": {}},
        r"tokenizer\.json: cannot be read as a tokenizer \(no such file\); set tokenizer",
    ),
    "vocabulary": (
        lambda p: (bert_folder(p.parent), tokens(p, 3)[0])[1], {"audio": None, "text": {}},
        r"the graph fails on input_ids \[1, \d+\].*indices element out of data bounds",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(tmp_path: Path, name: str) -> None:
    make, settings, expected = REFUSED[name]
    with pytest.raises(UserError, match=expected) as raised:
        build_tower(spec(make(tmp_path / "a.onnx"), **settings))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"audio": None}, "found none of audio, image and text"),
        ({"text": {}}, "found audio and text of audio, image and text"),
        ({"tokenizer": "x"}, "tokenizer goes with text, and the graph takes audio"),
        ({"mode": "unlocked"}, "Input should be 'locked'"),
        ({"lora": {}}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict, expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        spec(Path("a.onnx"), **settings)


def test_strides_are_what_the_lengths_come_from() -> None:
    """The reference of these tests against a loop."""
    wave = torch.from_numpy(spoken()[3])
    loop = [
        torch.relu(Tensor(filters()[:, 0]) @ wave[at : at + KERNEL]) for at in range(0, len(wave) - KERNEL + 1, STRIDE)
    ]
    torch.testing.assert_close(frames_of(wave, filters()), torch.stack(loop), rtol=1e-4, atol=1e-4)
