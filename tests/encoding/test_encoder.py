"""What an encoder takes and refuses, and what it does when memory or numbers run out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from colour_encoder import ColourProcessor, Mix, colour_encoder, paint
from PIL import Image
from torch import nn

from xmodal.encoding.encoder import Encoder
from xmodal.errors import UserError
from xmodal.towers.heads import Identity
from xmodal.towers.tower import Tower


class Narrow(Mix):
    """Runs out of memory above eight items, as a small GPU would."""

    def __init__(self) -> None:
        super().__init__()
        self.tried: list[int] = []

    def forward(self, inputs):
        self.tried.append(len(inputs["rgb"]))
        if len(inputs["rgb"]) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(inputs)


def image_encoder(backbone: nn.Module) -> Encoder:
    return Encoder({"image": Tower(backbone, Identity(3))}, {"image": ColourProcessor("image")}, name="one")


def test_the_batch_size_that_memory_taught_is_kept(tmp_path: Path) -> None:
    files = [paint(tmp_path / f"{n}.png", (n / 40, 0.5, 0.2)) for n in range(40)]
    encoder = image_encoder(backbone := Narrow())
    z = encoder.encode("image", files)
    assert backbone.tried == [40, 32, 16, *[8] * 5]
    torch.testing.assert_close(z, image_encoder(Mix()).encode("image", files))
    backbone.tried.clear()
    encoder.encode("image", files)
    assert backbone.tried == [8] * 5
    with pytest.raises(torch.OutOfMemoryError):  # a size that was asked for is not changed
        encoder.encode("image", files, batch_size=16)


def test_numpy_and_torch(tmp_path: Path) -> None:
    files = [paint(tmp_path / "a.png", "red")]
    z = colour_encoder().encode("image", files, output="numpy")
    assert isinstance(z, np.ndarray)
    assert z.dtype == np.float32
    np.testing.assert_array_equal(z, colour_encoder().encode("image", files).numpy())


def test_one_item_is_no_list(tmp_path: Path) -> None:
    encoder, picture = colour_encoder(), np.zeros((6, 8, 3), np.uint8)
    one = [picture, torch.from_numpy(picture), Image.fromarray(picture), "a.png", b"abc", tmp_path / "a.png"]
    for item in one:
        with pytest.raises(UserError, match="image: expected a list of items, found one"):
            encoder.encode("image", item)
    assert encoder.encode("image", np.stack([picture, picture])).shape == (2, 3)
    with pytest.raises(UserError, match="batch_size 0, expected a whole number, 1 or more"):
        encoder.encode("image", [picture], batch_size=0)


def test_a_pillow_image_is_what_its_file_is(tmp_path: Path) -> None:
    Image.fromarray(np.linspace(0, 65535, 48, dtype=np.uint16).reshape(6, 8)).save(tmp_path / "deep.png")
    with Image.open(tmp_path / "deep.png") as opened:
        torch.testing.assert_close(
            colour_encoder().encode("image", [opened]), colour_encoder().encode("image", [tmp_path / "deep.png"])
        )
    cut = (tmp_path / "deep.png").read_bytes()[:60]
    (tmp_path / "cut.png").write_bytes(cut)
    with Image.open(tmp_path / "cut.png") as opened, pytest.raises(UserError, match="image: PngImageFile: "):
        colour_encoder().encode("image", [opened])


def test_embeddings_that_are_no_numbers_are_an_error(tmp_path: Path) -> None:
    encoder = colour_encoder()
    encoder.towers["image"].backbone.weight.data[0, 0] = torch.nan
    files = [paint(tmp_path / "a.png", "red"), paint(tmp_path / "b.png", "blue")]
    with pytest.raises(UserError, match="colours: 2 of 2 image embeddings are NaN or infinite: damaged weights"):
        encoder.encode("image", files)


def test_settings_are_part_of_the_fingerprint() -> None:
    mean, token = (colour_encoder(towers={"image": {"kind": "timm", "pooling": p}}) for p in ("mean", "token"))
    assert mean.fingerprint("image") != token.fingerprint("image")
    here, there = (colour_encoder(towers={"image": {"kind": "timm", "name": n}}) for n in ("a/model", "b/model"))
    assert here.fingerprint("image") == there.fingerprint("image")


def test_a_fingerprint_does_not_change_with_whereabouts() -> None:
    def of(**spec: object) -> str:
        towers = {"image": {"kind": "timm", "name": "a", "mode": "locked", "options": {}} | spec}
        encoder = Encoder(
            {"image": Tower(Mix(), Identity(3))}, {"image": ColourProcessor("image")}, provenance={"towers": towers}
        )
        return encoder.fingerprint("image")

    assert of() == of(name="/elsewhere") == of(weights="w.safetensors") == of(mode="scratch")
    assert of() != of(options={"depth": 2})
    stored = {"kind": "store", "path": "p", "tower": {"kind": "timm", "name": "b", "mode": "locked", "options": {}}}
    assert of() == of(**stored)
