"""Corpora: from a corpus as it is published to manifests. One reader each, told apart by name.

Each is `prepare(root, out, limit=None) -> {path written: rows}`: checks what `root` holds, leaves the audio and the
images where they are (CIFAR's are packed into the manifest), and writes into `out`. `limit` keeps so many rows of each
manifest, for a quick try. Those in `SPLITS` also take `splits`, the ones to prepare; without it, all that are there.
"""

from collections.abc import Callable
from pathlib import Path

from xmodal.corpora import (
    caption_tars,
    cifar,
    coco,
    flickr30k,
    fsdd,
    image_folder,
    imagenet,
    karpathy,
    nlu_home,
    objectnet,
    slurp,
)

CORPORA: dict[str, Callable[..., dict[Path, int]]] = {
    "cc12m": caption_tars.prepare_cc12m,
    "cc3m": caption_tars.prepare_cc3m,
    "cifar10": cifar.prepare_cifar10,
    "cifar100": cifar.prepare_cifar100,
    "coco": coco.prepare,
    "coco_karpathy": karpathy.prepare_coco,
    "flickr30k": flickr30k.prepare,
    "flickr30k_karpathy": karpathy.prepare_flickr30k,
    "fsdd": fsdd.prepare,
    "image_folder": image_folder.prepare,
    "imagenet": imagenet.prepare,
    "imagenet_a": imagenet.prepare_a,
    "imagenet_r": imagenet.prepare_r,
    "imagenet_v2": imagenet.prepare_v2,
    "nlu_home": nlu_home.prepare,
    "objectnet": objectnet.prepare,
    "slurp": slurp.prepare,
    "yfcc15m": caption_tars.prepare_yfcc15m,
}

SPLITS: dict[str, tuple[str, ...]] = {
    "cifar10": cifar.SPLITS,
    "cifar100": cifar.SPLITS,
    "coco": coco.SPLITS,
    "coco_karpathy": karpathy.SPLITS,
    "flickr30k_karpathy": tuple(split for split in karpathy.SPLITS if split != "restval"),
    "imagenet": imagenet.SPLITS,
}
