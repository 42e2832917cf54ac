"""The config, tokenizer and weights of a pretrained `transformers` model: safetensors only, never unpickled."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from xmodal.config.tower import Mode
from xmodal.errors import UserError
from xmodal.towers.huggingface.source import Source

# What random initialisation may fill in: parts that no pooled feature depends on.
UNUSED = ("pooler", "masked_spec_embed", "position_ids")
# SpecAugment inside the model draws from numpy's global generator (no exact resume) and fails on short audio; dropped
# layers and an unused mask embedding leave parameters without a gradient, which DDP refuses.
TRAINING_EXTRAS: dict[str, Any] = {
    "apply_spec_augment": False,
    "mask_time_prob": 0.0,
    "mask_feature_prob": 0.0,
    "layerdrop": 0.0,
    "encoder_layerdrop": 0.0,
}


def read_config(source: Source) -> Any:
    """The model's `transformers` config.

    Raises:
        UserError: the model cannot be found, or its config cannot be read.
    """
    if source.local and source.file("config.json") is None:
        raise UserError(f"tower {source.name!r}: {Path(source.location, source.subfolder)} has no config.json")
    try:
        config = transformers.AutoConfig.from_pretrained(source.location, **source.options())
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise source.unreadable(error, "config") from error
    for name, value in TRAINING_EXTRAS.items():
        if hasattr(config, name):
            setattr(config, name, value)
    return config


def read_tokenizer(source: Source, config: Any) -> Any:
    """The model's tokenizer.

    Raises:
        UserError: it has none that can be read, or one of another model.
    """
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source.location, **source.options())
    except (OSError, ValueError, ImportError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"tower {source.name!r}: an encoder of neither text, speech nor images: type {config.model_type!r} is none "
            "of the speech and image encoders known here, and has no tokenizer "
            f"({' '.join(str(error).split())[:200]})"
        ) from error
    # without its files transformers makes one that knows no word, and every text becomes the same
    if not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):
        raise UserError(
            f"tower {source.name!r}: its tokenizer knows no word: {source.location} lacks the tokenizer's files; save "
            "them with tokenizer.save_pretrained"
        )
    known = getattr(config.get_text_config(), "vocab_size", None)
    highest = max(tokenizer("a photo of a dog", return_attention_mask=False)["input_ids"], default=0)
    if known is not None and highest >= known:
        raise UserError(
            f"tower {source.name!r}: its tokenizer gives token {highest}, and the model knows {known}: they are of two "
            "models; put the model's own tokenizer files into the folder"
        )
    return tokenizer


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No bars and no report while a model is read or written here; a download keeps its bar."""
    import huggingface_hub

    logging, bars = transformers.utils.logging, transformers.utils.logging.is_progress_bar_enabled()
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    huggingface_hub.utils.enable_progress_bars()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def build_model(auto: Any, source: Source, config: Any, mode: Mode) -> Any:
    """The model in float32: random weights for mode scratch, else the folder's safetensors.

    Weights that the file lacks and nothing needs are set from a fixed seed, so that two loads have one fingerprint.

    Args:
        auto: a class with `from_pretrained` and `from_config` (or `_from_config`).
        source: where.
        config: from `read_config`.
        mode: of the tower.

    Raises:
        UserError: no safetensors weights, or weights of another model.
    """
    if mode == "scratch":
        make = getattr(auto, "from_config", None) or auto._from_config
        trust = {"trust_remote_code": source.trust_remote_code} if source.trust_remote_code else {}
        return make(config, dtype=torch.float32, **trust)
    try:
        with torch.random.fork_rng(devices=[]), quiet():
            torch.manual_seed(0)
            model, info = auto.from_pretrained(
                source.location,
                config=config,
                dtype=torch.float32,  # else a model saved in half precision would stay so
                use_safetensors=True,
                output_loading_info=True,
                **source.options(),
            )
    except (OSError, ValueError, ImportError, KeyError, RuntimeError, SafetensorError) as error:
        if source.local and not list(Path(source.location, source.subfolder).glob("*.safetensors")):
            raise UserError(
                f"tower {source.name!r}: {Path(source.location, source.subfolder)} has no *.safetensors weights, and "
                "pickled ones are never loaded; save the model with save_pretrained, or train it with mode: scratch"
            ) from error
        raise source.unreadable(error, "safetensors weights") from error
    missing = sorted(name for name in info["missing_keys"] if not any(part in name for part in UNUSED))
    if missing:
        raise UserError(
            f"tower {source.name!r}: its weights lack {missing[0]} and {len(missing) - 1} more that "
            f"{type(model).__name__} needs; the folder's config.json is of another model"
        )
    return model
