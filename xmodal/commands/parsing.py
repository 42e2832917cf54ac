"""How the commands read their options: one parser, and the values that several of them take."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from xmodal.errors import UserError


def command_parser(name: str, doc: str | None) -> argparse.ArgumentParser:
    """The parser of `xmodal NAME`, whose help is the module's docstring as it is written."""
    return argparse.ArgumentParser(
        prog=f"xmodal {name}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def at_least(least: int, option: str, most: int | None = None) -> Callable[[str], int]:
    """The type of an option that takes a whole number from `least` on, up to `most`; another one is a `UserError`.

    Example:
        parser.add_argument("--jobs", type=at_least(1, "--jobs"))
    """

    def number(text: str) -> int:
        try:
            found = int(text)
        except ValueError:
            found = least - 1
        if found < least or (most is not None and found > most):
            expected = f"{least} or more" if most is None else f"{least} to {most}"
            raise UserError(f"{option}: found {text}, expected a whole number, {expected}")
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


def add_labelled(
    parser: argparse.ArgumentParser, what: str = "items", label: str = "label", trained: str = "classes"
) -> None:
    """`--items`, `--column`, `--label` and `--trained`: where a test holds its items and labels, what training knew.

    `what` the items are; `label`: the column by default; `trained`: what may occur in training.
    """
    parser.add_argument("--items", help="modality under test (default: the one that is no text)")
    parser.add_argument("--column", help=f"of the {what} (default: the modality's name)")
    parser.add_argument("--label", help=f"column of the labels (default: {label})")
    add_trained(parser, trained)


def add_trained(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --trained: without it a report does not call its test zero-shot."""
    told = f"do the {what} occur in training? --no-trained: no, the test is zero-shot (default: not known)"
    parser.add_argument("--trained", action=argparse.BooleanOptionalAction, help=told)


def add_cascade(parser: argparse.ArgumentParser) -> None:
    """`--cascade`: whose transcripts are scored beside the recordings."""
    told = "a Whisper (folder, name on the hub, package:NAME/FOLDER), or transcripts (.jsonl: id, text), scored beside"
    parser.add_argument("--cascade", help=told)


def label_sets(options: list[str] | None) -> dict[str, tuple[str, ...]] | None:
    """Label sets as they are typed: SET=VALUE,VALUE,...; None where none is.

    Raises:
        UserError: another form, a set that is given twice, fewer than two values.

    Example:
        label_sets(["size=small,large"])  # {"size": ("small", "large")}
    """
    if options is None:
        return None
    found: dict[str, tuple[str, ...]] = {}
    for option in options:
        name, equals, typed = option.partition("=")
        values = tuple(value.strip() for value in typed.split(","))
        if not name.strip() or not equals or len(values) < 2 or not all(values) or len(set(values)) < len(values):
            raise UserError(f"--labels: found {option!r}, expected SET=VALUE,VALUE with two or more values, each once")
        if name.strip() in found:
            raise UserError(f"--labels: the set {name.strip()} is given twice; name all of its values in one")
        found[name.strip()] = values
    return found


def add_model(parser: argparse.ArgumentParser, name: str = "model", **more: str) -> None:
    """The model under test: a run folder, or a dual encoder by name."""
    model = "run folder, hf-hub:OWNER/NAME[@REVISION], open_clip:NAME[@PRETRAINED], or transformers:NAME_OR_FOLDER"
    parser.add_argument(name, help=model, **more)  # type: ignore[arg-type]


def add_loading(parser: argparse.ArgumentParser) -> None:
    """`--dtype` and `--trust-remote-code`: how a model is loaded."""
    parser.add_argument("--dtype", choices=["fp32", "bf16", "fp16"], default="fp32", help="what the model runs in")
    parser.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="run code from outside xmodal that the model needs: a package's tower, code that came with its files",
    )


def add_report(parser: argparse.ArgumentParser, default: str) -> None:
    """`--embeddings`, how the model is loaded, and `--out`: what an evaluation keeps, and the folder of its report."""
    parser.add_argument("--embeddings", type=Path, help="where embeddings are kept (default RUN/embeddings)")
    add_loading(parser)
    parser.add_argument("--out", type=Path, help=f"report folder (default: {default})")
