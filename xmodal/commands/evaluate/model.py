"""What the evaluating commands share before they evaluate: a model by name, where its results go, its tests."""

import argparse
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from xmodal.config.error_lines import error_lines
from xmodal.config.evaluator_spec import EvaluatorSpec
from xmodal.encoding.embedding_cache import EmbeddingCache
from xmodal.encoding.encoder import Encoder
from xmodal.encoding.kept_features import feature_caches
from xmodal.encoding.loading import DUAL_ENCODERS, load
from xmodal.errors import UserError
from xmodal.evaluation.classification.speech_intent import SpeechIntent
from xmodal.evaluation.classification.zero_shot import ZeroShot
from xmodal.evaluation.runs.saved_run import evaluator_specs
from xmodal.hub.names import HUB

Specs = Mapping[str, EvaluatorSpec]
Chosen = TypeVar("Chosen", bound=EvaluatorSpec)


def load_for_evaluation(model: str, options: argparse.Namespace) -> tuple[Encoder, Path, Specs]:
    """The encoder of a run folder or a model by name, the folder its results go to, the evaluators it names.

    Raises:
        UserError: neither a run nor such a model.
    """
    encoder = load(model, dtype=options.dtype, trust_remote_code=options.trust_remote_code)
    home = home_of(model)
    specs: Specs = {} if encoder.folder is None else evaluator_specs(encoder.folder, options.trust_remote_code)
    encoder.cache = EmbeddingCache(options.embeddings or home / "embeddings")
    encoder.feature_caches = feature_caches(encoder.provenance["towers"])
    return encoder, home, specs


def home_of(model: str) -> Path:
    """Where results of a model go: into the run's folder; of a model by name into one of its own.

    Example:
        home_of("hf-hub:jo/spoken")  # PosixPath("reports/hf-hub_jo_spoken")
    """
    by_name = model.startswith((*DUAL_ENCODERS, HUB))
    return Path("reports") / re.sub(r"[^\w.-]+", "_", model) if by_name else Path(model)


def name_of(dataset: Path) -> str:
    """What a data set is called in reports: data/cifar10/test.parquet is cifar10-test.

    Example:
        name_of(Path("data/cifar10/test.parquet"))  # "cifar10-test"
    """
    if str(dataset).startswith("hub:"):
        return re.sub(r"[^\w.-]+", "_", str(dataset).removeprefix("hub:"))
    path = dataset.resolve()
    return f"{path.parent.name}-{path.stem}" if path.parent.name else path.stem


def spec_of(specs: Specs, dataset: Path) -> ZeroShot.Spec | SpeechIntent.Spec | None:
    """The evaluator among `specs` that has prompts for this data set; else the first one that has any."""
    prompted = [spec for spec in specs.values() if isinstance(spec, ZeroShot.Spec | SpeechIntent.Spec)]
    here = [spec for spec in prompted if os.path.realpath(spec.test) == os.path.realpath(dataset)]
    return next(iter([*here, *prompted]), None)


def zero_shot_spec(dataset: Path, items: str, trained: bool | None, given: Mapping[str, Any]) -> ZeroShot.Spec:
    """The evaluator that a command line asks for; `given` may hold None for what was not said.

    Raises:
        UserError: a value out of its range.
    """
    said = dict(given)
    if said.get("classes") is not None:
        named = said["classes"]
        said["classes"] = named[0] if len(named) == 1 else tuple(named)
    return spec_of_options(ZeroShot.Spec, test=dataset, items=items, trained=trained, **said)


def side_of_items(encoder: Encoder, option: str, asked: str | None = None) -> str:
    """The side that was asked for, else the one that is no text.

    Raises:
        UserError: there is not exactly one; `option` is how to name it.
    """
    if asked is not None:
        return asked
    found = [side for side, kind in encoder.kinds.items() if kind != "text"] or list(encoder.kinds)
    if len(found) != 1:
        told = f"{encoder.name}: encodes {', '.join(encoder.kinds)}; say which is meant"
        raise UserError(f"{told}, as {option} {found[0]}")
    return found[0]


def spec_of_options(spec: type[Chosen], **given: Any) -> Chosen:
    """The spec of an evaluator from options, where None was not said; of `trained` it is not known then.

    Raises:
        UserError: a value out of its range.

    Example:
        spec_of_options(Keywords.Spec, test=Path("test.jsonl"), words=("yes", "no"), dev=None)
    """
    said = {name: value for name, value in given.items() if value is not None or name == "trained"}
    try:
        return spec(**said)
    except ValidationError as error:
        raise UserError("\n".join(error_lines(error, said, lambda _: "command line", spec))) from None


def require_writable(folder: Path) -> None:
    """Raise `UserError` where a report cannot go: known before minutes are spent on it."""
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise UserError(f"{nearest}: is a file, and the report goes into a folder; choose another place with --out")
    if not os.access(nearest, os.W_OK):
        raise UserError(f"{nearest}: cannot be written to; choose another place with --out")
