"""Streams of pictures and texts, and what reads them."""

import io
import tarfile

import numpy as np
import torch
from PIL import Image

from xmodal.config.augment.image import ImageAugment
from xmodal.config.data import DataSpec, ImageModality, TextModality
from xmodal.data.stream import StreamedPairs
from xmodal.processor import Processor
from xmodal.store import content_id

MODALITIES = {"image": ImageModality(augment=ImageAugment(pad=1)), "text": TextModality()}


class Pixels(Processor):
    kind, sample_rate, log_mel = "image", None, False
    size, interpolation = (4, 4), "bilinear"

    def features(self, item):
        return np.ascontiguousarray(np.asarray(item).transpose(2, 0, 1))

    def collate(self, features):
        return {"pixels": torch.from_numpy(np.stack(features))}


class Ids(Processor):
    sample_rate, log_mel = None, False

    def __init__(self, kind="text"):
        self.kind = kind

    def features(self, item):
        return np.array([content_id(item)])

    def collate(self, features):
        return {"ids": torch.from_numpy(np.stack(features))}


def png(value, form="PNG"):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (value, 0, 0)).save(buffer, form, lossless=True)
    return buffer.getvalue()


def add(tar, name, data):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def stream(path, batch_size=4, rank=0, world=1, modalities=MODALITIES, **spec):
    processors: dict[str, Processor] = {"image": Pixels(), "text": Ids()}
    data = DataSpec(train=path, streaming=True, shuffle_buffer=8, **spec)
    return StreamedPairs(data, modalities, processors, 0, batch_size, rank, world)


def take(pairs, count):
    batches = iter(pairs)
    return [next(batches) for _ in range(count)]


def same(a, b):
    assert a.names == b.names
    torch.testing.assert_close(a.inputs, b.inputs)
