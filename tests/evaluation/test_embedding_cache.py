"""Embeddings kept beside a run: found again item by item, and never those of another file."""

import os

import pandas as pd
import pytest
import torch
from colours import colour_encoder, save_image
from safetensors.torch import load_file, save_file

from xmodal.encoding.embedding_cache import EmbeddingCache
from xmodal.evaluation.classification.zero_shot import ZeroShot


def evaluate(path, brief=True, **spec):
    return ZeroShot(ZeroShot.Spec(test=path, **spec)).evaluate(colour_encoder(), "colours", brief)


def test_a_file_with_its_old_date_is_another_file(folder, tmp_path):
    def answer():
        encoder = colour_encoder()
        encoder.cache = EmbeddingCache(tmp_path / "kept")
        return encoder.encode("image", [tmp_path / "a.bmp"])

    for colour in ("red", "blue"):  # of one size, and of one date, as archives unpack
        save_image(tmp_path / "a.bmp", colour)
        os.utime(tmp_path / "a.bmp", (10**9, 10**9))
        torch.testing.assert_close(answer(), colour_encoder().encode("image", [tmp_path / "a.bmp"]))


@pytest.mark.parametrize("damage", ["width", "half", "nan", "keys"])
def test_kept_files_that_do_not_fit_are_passed_over(folder, tmp_path, damage):
    def evaluate():
        encoder = colour_encoder()
        encoder.cache = EmbeddingCache(tmp_path / "kept")
        report = ZeroShot(ZeroShot.Spec(test=folder)).evaluate(encoder, "x", brief=True)
        return report.value("acc1"), encoder.towers["image"].backbone.seen

    assert evaluate() == (8 / 9, 9)
    [file] = (tmp_path / "kept").rglob("*.safetensors")
    tensors = load_file(file)
    changed = {
        "width": {"rows": tensors["rows"][:, :2].contiguous()},
        "half": {"rows": tensors["rows"].half()},
        "nan": {"rows": tensors["rows"] * torch.nan},
        "keys": {"keys": tensors["keys"][:, None]},
    }
    save_file(tensors | changed[damage], file)
    assert evaluate() == (8 / 9, 9)


def test_embeddings_that_cannot_be_kept_are_used_all_the_same(folder, tmp_path, caplog):
    (tmp_path / "kept").write_text("a file where the folder should be")
    encoder = colour_encoder()
    encoder.cache = EmbeddingCache(tmp_path / "kept")
    assert ZeroShot(ZeroShot.Spec(test=folder)).evaluate(encoder, "x", brief=True).value("acc1") == 8 / 9
    assert "embeddings are not kept" in caplog.text


def test_kept_embeddings_never_read_an_image_again(folder, tmp_path):
    first, second = colour_encoder(), colour_encoder()
    reports = []
    for encoder in (first, second):
        encoder.cache = EmbeddingCache(tmp_path / "kept")
        reports.append(ZeroShot(ZeroShot.Spec(test=folder)).evaluate(encoder, "x", brief=True))
    assert first.towers["image"].backbone.seen == 9
    assert second.towers["image"].backbone.seen == 0
    assert [r.value for r in reports[0].records[:1]] == [r.value for r in reports[1].records[:1]]
    save_image(folder / "red" / "0.png", "white")  # a changed file is read again, and nothing else
    third = colour_encoder()
    third.cache = EmbeddingCache(tmp_path / "kept")
    ZeroShot(ZeroShot.Spec(test=folder)).evaluate(third, "x", brief=True)
    assert third.towers["image"].backbone.seen == 1
    half = colour_encoder(torch.bfloat16)  # another precision is another embedding
    half.cache = EmbeddingCache(tmp_path / "kept")
    ZeroShot(ZeroShot.Spec(test=folder)).evaluate(half, "x", brief=True)
    assert half.towers["image"].backbone.seen == 9


def test_other_candidates_read_nothing_and_new_items_alone_are_embedded(folder, tmp_path):
    def seen(path=folder, **spec):
        encoder = colour_encoder()
        encoder.cache = EmbeddingCache(tmp_path / "kept")
        report = ZeroShot(ZeroShot.Spec(test=path, **spec)).evaluate(encoder, "x", brief=True)
        return encoder.towers["image"].backbone.seen, report.predictions

    assert seen(classes=("red", "green"))[0] == 5
    number, predictions = seen()
    assert number == 4  # the blue ones
    pd.testing.assert_frame_equal(predictions, evaluate(folder).predictions.replace("colours", "x"))
    (folder / "red" / "9.png").write_bytes(b"")
    assert seen(max_bad=0.2)[0] == 0
    save_image(folder / "red" / "9.png", "red")  # what could not be read is tried again
    assert seen()[0] == 1
    for file in (tmp_path / "kept").rglob("*.safetensors"):
        file.write_bytes(b"damaged")
    assert seen()[0] == 10
