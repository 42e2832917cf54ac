"""A suite: a YAML file of evaluators by name, as under `evaluators` in a config."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import TypeAdapter, ValidationError

from xmodal.commands.evaluate.model import Specs
from xmodal.config.error_lines import error_lines
from xmodal.config.evaluator_spec import EvaluatorSpec
from xmodal.config.kinds import EVALUATORS
from xmodal.config.yaml_text import read_mapping
from xmodal.errors import UserError

_IS_NAME = re.compile(r"[^/\\\0]*[^/\\\0.\s][^/\\\0]*")  # a test's report lies in a folder of this name


def read_suite(path: Path) -> Specs:
    """The evaluators of a suite; paths in it are relative to the folder the command is started in.

    Raises:
        UserError: missing, not YAML, or no such evaluators: every mistake on a line of its own.

    Example:
        read_suite(Path("configs/suites/imagenet.yaml"))["imagenet"].prompts
    """
    found = read_mapping(path, "evaluators by name")
    mistakes = [
        f"{path}: {name!r}: the name of a test is that of a folder: expected one without slashes"
        for name in found
        if not _IS_NAME.fullmatch(str(name))
    ]
    suite = dict[str, Annotated[EvaluatorSpec, EVALUATORS]]
    try:
        specs = TypeAdapter(suite).validate_python(found)
    except ValidationError as error:
        mistakes += error_lines(error, found, lambda _: str(path), suite)
    if mistakes:
        raise UserError("\n".join(mistakes))
    if not specs:
        raise UserError(f"{path}: empty, expected evaluators by name")
    return specs
