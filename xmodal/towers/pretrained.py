"""Where a pretrained `transformers` model lives, and how its files and weights are read: safetensors only.

Enters: a `TransformersTower` spec. Leaves: a `Source`, its config, its weights; every foreseeable failure is one line.
"""

import contextlib
import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
import transformers
from safetensors import SafetensorError
from transformers.utils.hub import cached_file

from xmodal.config.towers import Mode, TransformersTower
from xmodal.errors import UserError

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


@dataclass(frozen=True)
class Source:
    """A model's place: a local folder or a hub name, and a folder inside it."""

    name: str  # as the config says it
    location: str
    revision: str | None = None
    trust_remote_code: bool = False
    subfolder: str = ""

    @property
    def local(self) -> bool:
        """Is it a folder on this machine?"""
        return Path(self.location).is_dir()

    def inside(self, subfolder: str) -> "Source":
        """The same model, read from a folder inside it."""
        return replace(self, subfolder=subfolder)

    def options(self) -> dict[str, Any]:
        """Arguments every `from_pretrained` takes."""
        found: dict[str, Any] = {"trust_remote_code": self.trust_remote_code}
        if not self.local:
            found["revision"] = self.revision
        if self.subfolder:
            found["subfolder"] = self.subfolder
        return found

    def file(self, name: str, must_know: bool = False) -> Path | None:
        """A file of the model, None when it has no such file.

        Raises:
            UserError: `must_know`, and neither the cache nor the hub can say whether there is one.
        """
        name = f"{self.subfolder}/{name}" if self.subfolder else name
        if self.local:
            path = Path(self.location, name)
            return path if path.is_file() else None
        try:
            found = cached_file(
                self.location, name, revision=self.revision, _raise_exceptions_for_missing_entries=False
            )
        except (OSError, ValueError) as error:
            raise self.unreadable(error) from error
        if found is None and must_know:
            known = huggingface_hub.try_to_load_from_cache(self.location, name, revision=self.revision)
            if known is None:  # neither a file nor the note that the hub has none
                raise UserError(
                    f"tower {self.name!r}: the hub cannot be reached to ask for {name}, so the model's own pooling is "
                    "not known; set pooling and max_length, or name a local folder"
                )
        return None if found is None else Path(found)

    def json(self, name: str, must_know: bool = False) -> Any:
        """A JSON file of the model, None when it has no such file.

        Raises:
            UserError: it is damaged (or see `file`).
        """
        path = self.file(name, must_know)
        if path is None:
            return None
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"tower {self.name!r}: {path} is not JSON ({error})") from error

    def unreadable(self, error: Exception, what: str = "model") -> UserError:
        """The one line for a model that cannot be had."""
        reason = " ".join(str(error).split())[:300]
        if self.local:
            return UserError(f"tower {self.name!r}: its {what} in {self.location} cannot be read: {reason}")
        return UserError(
            f"tower {self.name!r}: neither a folder here nor a model that the hub's cache or the hub gives ({reason}); "
            "name a local folder, a package as package:NAME/FOLDER, or check the spelling and the connection"
        )


def locate(spec: TransformersTower) -> Source:
    """Where the model named by a spec is; nothing is downloaded yet.

    Raises:
        UserError: the package is not installed, or the folder does not exist.
    """
    location = str(Path(spec.name).expanduser())
    if spec.name.startswith("package:"):
        location = str(package_folder(spec.name))
    elif not Path(location).is_dir():
        if spec.name.startswith((".", "/", "~")) or spec.name.count("/") > 1:
            raise UserError(f"tower {spec.name!r}: no such folder ({Path(location).absolute()})")
        location = spec.name
    return Source(spec.name, location, spec.revision, spec.trust_remote_code)


def package_folder(name: str) -> Path:
    """`package:NAME/FOLDER` -> the folder inside the installed package.

    Raises:
        UserError: no such package, or no such folder in it.
    """
    package, _, inside = name.removeprefix("package:").partition("/")
    try:
        found = importlib.util.find_spec(package) if package.isidentifier() else None
    except (ImportError, ValueError):
        found = None
    if found is None or not found.submodule_search_locations:
        raise UserError(
            f"tower {name!r}: Python package {package!r} is not installed; pip install {package.replace('_', '-')}"
        )
    folder = Path(found.submodule_search_locations[0], inside)
    if not folder.is_dir():
        raise UserError(f"tower {name!r}: package {package} has no folder {inside!r} ({folder})")
    return folder


def hub_file(name: str, repository: str, file: str, absent: str, revision: str | None = None) -> Path:
    """A file of a hub repository, from the cache or the hub.

    Args:
        name: of the tower, as the config says it.
        repository: OWNER/MODEL.
        file: in it.
        absent: the way out where the repository has no such file.
        revision: of the repository.

    Raises:
        UserError: there is no such file, or nobody can say.
    """
    try:
        return Path(huggingface_hub.hf_hub_download(repository, file, revision=revision))
    except (OSError, ValueError) as error:
        unreachable = isinstance(error, huggingface_hub.errors.LocalEntryNotFoundError)
        if isinstance(error, huggingface_hub.errors.EntryNotFoundError) and not unreachable:
            raise UserError(f"tower {name!r}: {repository} on the hub has no {file}; {absent}") from error
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"tower {name!r}: {file} of {repository} is neither in the hub's cache nor can the hub give it ({reason}); "
            "check the spelling and the connection, or name a local file or folder"
        ) from error


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
