"""Any image to RGB: modes and depths against numpy, EXIF against a turn by hand, and what must be refused."""

import io
import struct
import tarfile
import zlib

import numpy as np
import pytest
from PIL import Image

from xmodal.data.image import ImageError, read_image, upright

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def huge(width, height):
    """A PNG that says it is of that size, without its pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_path_bytes_and_place_in_a_tar_are_the_same_image(tmp_path):
    data = encoded(Image.fromarray(PIXELS))
    (tmp_path / "a.png").write_bytes(data)
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        tar.add(tmp_path / "a.png", "a.png")
    with tarfile.open(tmp_path / "s.tar") as tar:
        place = f"s.tar@{tar.getmember('a.png').offset_data}+{len(data)}"
    sources = [(tmp_path / "a.png", None), ("a.png", tmp_path), (data, None), (place, tmp_path)]
    for found in (read_image(*source) for source in sources):
        assert found.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(found), PIXELS)


def test_an_image_without_its_border(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a@1.png")
    found = read_image("a@1.png@inset2", tmp_path)
    np.testing.assert_array_equal(np.asarray(found), PIXELS[2:-2, 2:-2])
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a@1.png@inset0")), PIXELS)
    with pytest.raises(ImageError, match="9 x 6 pixels, too small to lose 3 on every side"):
        read_image(f"{tmp_path}/a@1.png@inset3")
    with pytest.raises(ImageError, match=r"b\.png@inset2: no such file"):
        read_image(f"{tmp_path}/b.png@inset2")


def test_sixteen_bits_are_scaled_not_cut_off():
    values = np.array([[0, 257, 256 * 128, 65535]], dtype=np.uint16)
    found = np.asarray(read_image(encoded(Image.fromarray(values))))
    np.testing.assert_array_equal(found[0, :, 0], [0, 1, 128, 255])


def test_palette_grey_alpha_and_cmyk():
    image = Image.fromarray(PIXELS)
    grey = np.asarray(read_image(encoded(image.convert("L"))))
    assert (grey[..., 0] == grey[..., 2]).all()
    np.testing.assert_array_equal(np.asarray(read_image(encoded(image.convert("RGBA")))), PIXELS)
    palette = image.convert("P", palette=Image.Palette.ADAPTIVE, colors=64)
    np.testing.assert_array_equal(np.asarray(read_image(encoded(palette))), np.asarray(palette.convert("RGB")))
    flat = Image.new("RGB", (8, 8), (200, 30, 90))
    found = np.asarray(read_image(encoded(flat.convert("CMYK"), "JPEG", quality=98))).reshape(-1, 3)
    assert np.abs(found.astype(int) - [200, 30, 90]).max() <= 4


@pytest.mark.parametrize(("orientation", "turn"), [(3, lambda x: x[::-1, ::-1]), (6, lambda x: np.rot90(x, -1))])
def test_turned_as_exif_says(orientation, turn):
    exif = Image.Exif()
    exif[274] = orientation
    found = np.asarray(read_image(encoded(Image.fromarray(PIXELS), exif=exif)))
    np.testing.assert_array_equal(found, turn(PIXELS))


def test_the_first_frame_of_an_animation():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    found = read_image(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert np.asarray(found)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "an empty file"),
        (b"not an image at all", "no image, or of a kind that is not read"),
        (encoded(Image.fromarray(PIXELS).resize((300, 300)), "JPEG")[:2000], "cannot be decoded"),
        (encoded(Image.fromarray(PIXELS))[:60], "cannot be decoded|no image"),
        (huge(30_000, 30_000), "decompression bomb"),
        (huge(12_000, 10_000), "12000 x 10000 pixels, more than max_pixels"),
        (encoded(Image.fromarray(np.full((2, 2), -3.0, np.float32)), "TIFF"), "F pixels"),
    ],
)
def test_what_cannot_be_used(data, message):
    with pytest.raises(ImageError, match=message):
        read_image(data)


def test_missing_files_and_places(tmp_path):
    with pytest.raises(ImageError, match=r"no\.png: no such file"):
        read_image("no.png", tmp_path)
    with pytest.raises(ImageError, match="cannot be read"):
        read_image("no.tar@512+10", tmp_path)


def test_whatever_a_damaged_file_makes_pillow_raise():
    exif = Image.Exif()
    exif[274] = 6
    data = bytearray(encoded(Image.fromarray(PIXELS), "JPEG", exif=exif))
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        damaged = bytearray(data)
        for at in rng.integers(2, 80, 4):
            damaged[at] = int(rng.integers(256))
        try:
            assert read_image(bytes(damaged)).mode == "RGB"
        except ImageError:
            refused += 1
    assert refused > 20


def test_a_thin_line_is_refused_before_it_is_resized():
    line = encoded(Image.new("RGB", (1, 2000)))
    assert len(line) < 100
    with pytest.raises(ImageError, match="1 x 2000 pixels, one side over 200 times the other"):
        read_image(line)
    assert read_image(encoded(Image.new("RGB", (3, 600)))).size == (3, 600)


def test_formats_that_start_other_programs_are_not_opened():
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n"
    with pytest.raises(ImageError, match="no image, or of a kind that is not read"):
        read_image(script)


def test_a_pillow_image_is_what_its_file_is(tmp_path):
    picture = Image.fromarray(PIXELS)
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.png", exif=exif)
    values = np.arange(0, 65536, 2048, dtype=np.uint16).reshape(4, 8)
    Image.fromarray(values).save(tmp_path / "deep.png")
    for name in ("turned.png", "deep.png"):
        with Image.open(tmp_path / name) as opened:
            np.testing.assert_array_equal(np.asarray(upright(opened)), np.asarray(read_image(tmp_path / name)))
    assert read_image(tmp_path / "turned.png").size == (6, 9)
