"""A sentence-transformers folder: what it says about pooling, length, prompt and the layers after pooling.

Input: a `Source`. Output: `SentenceSettings`; and the files that make a saved tower load in sentence-transformers.
Modules understood: Transformer, Pooling (cls, mean or last token), Dense, Normalize (`Tower` normalises anyway).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from xmodal.errors import UserError
from xmodal.files import write_json
from xmodal.towers.huggingface.source import Source

LENGTH_FILES = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
PROMPTS_FILE = "config_sentence_transformers.json"
POOLING_FLAGS = {  # the flags of 1_Pooling/config.json -> our names
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "last",
}
POOLING_NAMES = {"cls": "cls", "mean": "mean", "lasttoken": "last"}  # newer files say pooling_mode: NAME


@dataclass(frozen=True)
class SentenceSettings:
    """What a sentence-transformers folder says."""

    transformer: str  # the Transformer module's folder, "" for the root
    pooling: str | None  # mean, cls or last; None: another kind
    pooling_found: str  # as the folder says it, for an error line
    max_length: int | None
    lower: bool  # lower-case the text first
    dense: tuple[str, ...]  # folders of Dense modules, in order
    prompt: str = ""  # put before every text: the folder's default prompt
    pools_prompt: bool = True  # do the prompt's own tokens count in the pooling?


class Dense(nn.Module):
    """activation(W x + b), sentence-transformers' module after pooling.

    Args:
        linear: W and b.
        activation: any parameterless module of torch.nn.
    """

    def __init__(self, linear: nn.Linear, activation: nn.Module):
        super().__init__()
        self.linear = linear
        self.activation = activation

    def forward(self, features: Tensor) -> Tensor:
        """[B, G] -> [B, G']."""
        return self.activation(self.linear(features))


def read_settings(source: Source, must_know: bool) -> SentenceSettings | None:
    """The folder's settings, None where it is no sentence-transformers folder.

    Raises:
        UserError: it holds a module that is not understood; `must_know` as in `Source.file`.
    """
    modules = source.json("modules.json", must_know)
    if modules is None:
        return None
    kinds = [module["type"].rsplit(".", 1)[-1] for module in modules]
    folders = [module.get("path", "") for module in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or not set(kinds[2:]) <= {"Dense", "Normalize"}:
        raise UserError(
            f"tower {source.name!r}: modules.json lists {', '.join(kinds)}; expected Transformer, Pooling, then only "
            "Dense and Normalize"
        )
    pooling_config = source.inside(folders[1]).json("config.json") or {}
    pooling, found = read_pooling(pooling_config)
    lengths = (source.inside(folders[0]).json(name) for name in LENGTH_FILES)
    length: dict[str, Any] = next((found for found in lengths if found is not None), {})
    return SentenceSettings(
        transformer=folders[0],
        pooling=pooling,
        pooling_found=found,
        max_length=length.get("max_seq_length"),
        lower=bool(length.get("do_lower_case", False)),
        dense=tuple(folder for kind, folder in zip(kinds, folders, strict=True) if kind == "Dense"),
        prompt=read_prompt(source),
        pools_prompt=bool(pooling_config.get("include_prompt", True)),
    )


def read_prompt(source: Source) -> str:
    """The prompt that the folder puts before every text unless told otherwise; "" where it has none.

    Raises:
        UserError: its name is not among the folder's prompts.
    """
    config = source.json(PROMPTS_FILE) or {}
    name, prompts = config.get("default_prompt_name"), config.get("prompts") or {}
    if name is None:
        return ""
    if name not in prompts:
        raise UserError(
            f"tower {source.name!r}: {PROMPTS_FILE}: default_prompt_name {name!r} is none of its prompts "
            f"({', '.join(prompts) or 'none'}); correct the file"
        )
    return str(prompts[name] or "")


def read_pooling(config: dict[str, Any]) -> tuple[str | None, str]:
    """1_Pooling/config.json -> (our name or None, what it says)."""
    if "pooling_mode" in config:
        named = config["pooling_mode"]
        named = [named] if isinstance(named, str) else list(named)
    else:
        flags = {**POOLING_FLAGS, "pooling_mode_max_tokens": "max"}
        on = [key for key, value in config.items() if key.startswith("pooling_mode_") and value]
        named = [next((name for name, ours in POOLING_NAMES.items() if ours == flags.get(k)), k) for k in on] or [
            "mean"
        ]
    return (POOLING_NAMES.get(named[0]) if len(named) == 1 else None), "+".join(named)


def read_dense(source: Source, folder: str) -> Dense:
    """A Dense module's folder.

    Raises:
        UserError: pickled weights, or an option that is not understood.
    """
    place = source.inside(folder)
    config = place.json("config.json") or {}
    name = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    activation = getattr(nn, name.rsplit(".", 1)[-1], None)
    if config.get("use_residual") or not name.startswith("torch.nn.modules") or activation is None:
        raise UserError(
            f"tower {source.name!r}: {folder}/config.json: only a linear map and a torch.nn activation work"
        )
    path = place.file("model.safetensors")
    if path is None:
        raise UserError(f"tower {source.name!r}: {folder} has no model.safetensors; pickled weights are never loaded")
    linear = nn.Linear(config["in_features"], config["out_features"], bias=config.get("bias", True))
    dense = Dense(linear, activation())
    try:
        dense.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UserError(f"tower {source.name!r}: {path}: {' '.join(str(error).split())}") from error
    return dense


def write_settings(folder: Path, settings: SentenceSettings, width: int, dense: Sequence[Dense]) -> None:
    """Write modules.json and the module folders beside a Transformer saved in `folder`.

    Args:
        folder: holds config.json, model.safetensors and the tokenizer.
        settings: what the tower does; `transformer` and `dense` are where this function puts them.
        width: of the token features.
        dense: modules after the pooling.
    """
    modules = [("Transformer", ""), ("Pooling", "1_Pooling")]
    modules += [("Dense", f"{number}_Dense") for number in range(2, 2 + len(dense))]
    modules += [("Normalize", f"{2 + len(dense)}_Normalize")]
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(modules)
    ]
    flags: dict[str, Any] = {key: ours == settings.pooling for key, ours in POOLING_FLAGS.items()}
    flags["include_prompt"] = settings.pools_prompt
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width, **flags})
    lengths = {"max_seq_length": settings.max_length, "do_lower_case": settings.lower}
    write_json(folder / "sentence_bert_config.json", lengths)
    if settings.prompt:
        write_json(folder / PROMPTS_FILE, {"prompts": {"default": settings.prompt}, "default_prompt_name": "default"})
    for module, (_, path) in zip(dense, modules[2:], strict=False):
        activation = type(module.activation)
        config = {
            "in_features": module.linear.in_features,
            "out_features": module.linear.out_features,
            "bias": module.linear.bias is not None,
            "activation_function": f"{activation.__module__}.{activation.__name__}",
        }
        write_json(folder / path / "config.json", config)
        save_file(
            {name: value.contiguous() for name, value in module.state_dict().items()},
            folder / path / "model.safetensors",
        )
    write_json(folder / "modules.json", listed)
