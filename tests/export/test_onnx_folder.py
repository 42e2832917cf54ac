"""Runs as ONNX graphs: what the script beside them computes, without torch and xmodal, is what the towers compute."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import soundfile
import torch
from encoders import encoder_of
from PIL import Image
from PIL.ExifTags import Base
from test_sentence_transformers import clip_folder, vit_folder
from tiny_models import TEXTS, bert_folder, images, open_clip_files, sentence_folder, whisper_folder
from tiny_speech import ast_folder, wave_folder

from xmodal.config.tower import TowerSpec
from xmodal.encoding.encoder import Encoder
from xmodal.errors import UserError
from xmodal.export.formats import export
from xmodal.export.onnx_graph import write_graph
from xmodal.towers.heads import GLU, Linear
from xmodal.towers.kinds.open_clip import OpenCLIPTower
from xmodal.towers.kinds.timm import TimmTower
from xmodal.towers.kinds.transformers import TransformersTower
from xmodal.towers.own.image_encoder import ImageEncoderTower
from xmodal.towers.own.speech_encoder import SpeechEncoderTower
from xmodal.towers.own.text_encoder import TextEncoderTower
from xmodal.towers.sequence_heads import Attention, Transformer

Spec = TransformersTower.Spec
ORIENTATION = Base.Orientation
ALONE = """
import sys
from embed import Embedder
import numpy as np
found = Embedder().embed(sys.argv[1], sys.argv[3:])
assert not {"torch", "xmodal", "transformers"} & sys.modules.keys()
np.save(sys.argv[2], found)
"""


def own(folder: Path) -> dict[str, TowerSpec]:
    small: dict[str, Any] = {"width": 16, "layers": 1, "heads": 2, "feed_forward": 32}
    return {
        "text": TextEncoderTower.Spec(max_length=24, head=Attention.Spec(heads=2), **small),
        "image": ImageEncoderTower.Spec(image_size=16, widths=(8, 16), head=GLU.Spec(hidden=8)),
        "speech": SpeechEncoderTower.Spec(
            sample_rate=8000, mels=20, fft=256, high=3900, top_db=40, strides=(2, 2), head=Linear.Spec(), **small
        ),
    }


def pretrained(folder: Path) -> dict[str, TowerSpec]:
    stacked = Transformer.Spec(stack=4, hidden=16, layers=1, heads=2, feed_forward=32)
    return {
        "text": Spec(name=sentence_folder(folder / "sentence", "mean", dense=28)),
        "image": Spec(name=vit_folder(folder / "vit"), pooling="mean"),
        "speech": Spec(name=whisper_folder(folder / "whisper"), head=stacked),
        "masked": Spec(name=wave_folder(folder / "layer", "wav2vec2", "layer")),
        "alone": Spec(name=wave_folder(folder / "group", "hubert", "group"), layers=(1, 2)),
    }


def dual(folder: Path) -> dict[str, TowerSpec]:
    clip = clip_folder(folder / "clip")
    config, weights, _ = open_clip_files(folder / "graphs")
    return {
        "text": Spec(name=clip, side="text", head=Linear.Spec()),
        "projected": Spec(name=clip, side="visual", head=Linear.Spec()),
        "open": OpenCLIPTower.Spec(name=config, pretrained=weights, side="visual"),
        "timm": TimmTower.Spec(name="resnet10t", mode="scratch", image_size=32),
        "cls": Spec(name=bert_folder(folder / "bert"), pooling="cls"),
        "last": Spec(name=bert_folder(folder / "bert"), pooling="last"),
    }


def items_of(encoder: Encoder, modality: str, folder: Path) -> list[str]:
    """Items of three sizes, as files where they are no texts; images also turned by EXIF, and of more bits."""
    kind, folder = encoder.kind(modality), folder / modality
    if kind == "text":
        return [text for text in TEXTS if text]
    folder.mkdir()
    if kind == "image":
        for number, image in enumerate(images()):
            image.save(folder / f"{number}.png")
        turned = Image.Exif()
        turned[ORIENTATION] = 6
        image.save(folder / "turned.jpg", exif=turned)
        gray = np.asarray(image.convert("L"))
        Image.fromarray(gray.astype(np.uint16) * 257 // 3).save(folder / "sixteen_bits.png")
        Image.fromarray(gray.astype(np.int32)).save(folder / "wide.tiff")
    else:
        rate = int(encoder.processors[modality].sample_rate or 1)
        for number, seconds in enumerate((0.02, 0.31, 0.95)):
            t = np.arange(int(seconds * rate)) / rate
            soundfile.write(folder / f"{number}.wav", 0.3 * np.sin(2 * np.pi * (300 + 500 * number) * t), rate)
    return [str(path) for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("towers", [own, pretrained, dual])
def test_the_script_computes_what_the_towers_do(tmp_path: Path, towers: Any) -> None:
    encoder = encoder_of(8, **towers(tmp_path))
    lines = export(encoder, tmp_path / "out", "onnx")
    assert len(lines) == len(encoder.modalities)
    for number, modality in enumerate(encoder.modalities):
        items = items_of(encoder, modality, tmp_path)
        result = tmp_path / f"{modality}.npy"
        if number == 0:
            subprocess.run([sys.executable, "-c", ALONE, modality, result, *items], cwd=tmp_path / "out", check=True)
            found = np.load(result)
        else:
            found = embedder(tmp_path / "out").embed(modality, items, batch_size=2)
        expected = encoder.encode(modality, items, output="numpy")
        np.testing.assert_allclose(found, expected, atol=1e-3, rtol=0, err_msg=modality)
        assert np.abs(expected[0] - expected[-1]).max() > 1e-3, modality


def embedder(folder: Path) -> Any:
    """`embed.py` of the folder itself, run as it is."""
    space: dict[str, Any] = {"__name__": "embed", "__file__": str(folder / "embed.py")}
    exec(compile((folder / "embed.py").read_text(), "embed.py", "exec"), space)
    return space["Embedder"](folder)


def test_the_graph_has_a_free_batch_and_length_and_the_command_line_prints(tmp_path: Path) -> None:
    encoder = encoder_of(8, **{name: spec for name, spec in own(tmp_path).items() if name != "image"})
    export(encoder, tmp_path / "out", "onnx")
    graph = onnxruntime.InferenceSession(tmp_path / "out/speech.onnx")
    assert [value.shape for value in graph.get_inputs()] == [["batch", "length", 20], ["batch"]]
    told = subprocess.run([sys.executable, "embed.py", "text", "play", "it"], cwd=tmp_path / "out", capture_output=True)
    rows = np.array([json.loads(line) for line in told.stdout.splitlines()])
    np.testing.assert_allclose(rows, encoder.encode("text", ["play", "it"]).numpy(), atol=1e-3)
    soundfile.write(tmp_path / "fast.wav", np.zeros(16000), 16000)
    with pytest.raises(SystemExit, match="16000 Hz, expected 8000 Hz"):
        embedder(tmp_path / "out").embed("speech", [tmp_path / "fast.wav"])


def test_what_no_graph_can_hold_is_one_line(tmp_path: Path) -> None:
    config, weights, _ = open_clip_files(tmp_path / "refused")
    refused = {
        "text: .* prepared by a TokenProcessor": OpenCLIPTower.Spec(name=config, pretrained=weights, side="text"),
        "text: .* prepared by a ASTProcessor": Spec(name=ast_folder(tmp_path / "ast")),
    }
    for line, spec in refused.items():
        with pytest.raises(UserError, match=line) as error:
            export(encoder_of(None, text=spec), tmp_path / "out", "onnx")
        assert "\n" not in str(error.value)
        assert not (tmp_path / "out").exists()


def test_a_full_disk_is_not_the_towers_fault(tmp_path: Path) -> None:
    tower = encoder_of(8, speech=own(tmp_path)["speech"]).towers["speech"].eval()
    graph = tmp_path / "speech.onnx"
    graph.symlink_to("/dev/full")
    example = {"features": torch.zeros(1, 40, 20), "lengths": torch.tensor([40])}
    with pytest.raises(OSError, match="No space left on device") as error:
        write_graph(tower, [example], graph)
    assert error.value.filename == str(graph)


def test_a_graph_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    encoder = encoder_of(8, text=own(tmp_path)["text"])
    backbone = encoder.towers["text"].backbone
    plain = type(backbone).forward

    class Counting(type(backbone)):  # type: ignore[misc]
        def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
            return plain(self, inputs) * (1 + torch.arange(self.width) * int(inputs["lengths"].max()))

    backbone.__class__ = Counting
    encoder.towers["text"].head = Linear(16, 8)
    with pytest.raises(UserError, match=r"text: .* computes something else than the tower"):
        export(encoder, tmp_path / "out", "onnx")
    assert not (tmp_path / "out").exists()
