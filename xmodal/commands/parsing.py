"""How the commands read their options: one parser, and the values that several of them take."""

import argparse
import math
from collections.abc import Callable

from xmodal.errors import UserError


def command_parser(name: str, doc: str | None) -> argparse.ArgumentParser:
    """The parser of `xmodal NAME`, whose help is the module's docstring as it is written."""
    return argparse.ArgumentParser(
        prog=f"xmodal {name}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def at_least(least: int, option: str) -> Callable[[str], int]:
    """The type of an option that takes a whole number from `least` on; another one is a `UserError`.

    Example:
        parser.add_argument("--jobs", type=at_least(1, "--jobs"))
    """

    def number(text: str) -> int:
        try:
            found = int(text)
        except ValueError:
            found = least - 1
        if found < least:
            raise UserError(f"{option}: found {text}, expected a whole number, {least} or more")
        return found

    return number


def add_max_bad(parser: argparse.ArgumentParser, default: float | None, what: str = "items") -> None:
    """`--max-bad`: the share of unreadable items that a test may hold."""

    def share(text: str) -> float:
        try:
            found = float(text)
        except ValueError:
            found = math.nan
        if not 0 <= found <= 1:
            raise UserError(f"--max-bad: found {text}, expected a share between 0 and 1")
        return found

    parser.add_argument(
        "--max-bad", type=share, default=default, help=f"share of unreadable {what} that the test may hold (0.01)"
    )


def add_model(parser: argparse.ArgumentParser, name: str = "model", **more: str) -> None:
    """The model under test: a run folder, or a dual encoder by name."""
    model = "run folder, open_clip:NAME[@PRETRAINED], or transformers:NAME_OR_FOLDER"
    parser.add_argument(name, help=model, **more)  # type: ignore[arg-type]


def add_loading(parser: argparse.ArgumentParser) -> None:
    """`--dtype` and `--trust-remote-code`: how a model is loaded."""
    parser.add_argument("--dtype", choices=["fp32", "bf16", "fp16"], default="fp32", help="what the model runs in")
    parser.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="run code from outside xmodal that the model needs: a package's tower, code that came with its files",
    )
