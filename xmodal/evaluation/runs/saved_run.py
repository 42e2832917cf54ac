"""What a report asks of the run behind its numbers: its config as plain values, of any format and with any kinds.

A run outlives its training code: nothing here needs the code of its objective, and that of its evaluators only where
they are asked for.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from xmodal.config.data import MODALITY_OF_KIND, STANDARD_MODALITIES
from xmodal.config.error_lines import error_lines
from xmodal.config.evaluator_spec import EvaluatorSpec
from xmodal.config.kinds import EVALUATORS, TEMPLATE_SETS
from xmodal.errors import UserError
from xmodal.runs.folder import read_run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SavedRun:
    """A run folder's config, as it was written."""

    folder: Path
    config: Mapping[str, Any]

    @classmethod
    def of(cls, folder: Path) -> "SavedRun":
        """That of a folder. Raises `UserError` where it is no run, or one of a newer xmodal."""
        return cls(folder, read_run(folder))

    @property
    def sides(self) -> list[str]:
        """Its sides."""
        return list(self.config["towers"])

    @property
    def steps(self) -> int:
        """Steps it was to train for."""
        return int((self.config.get("train") or {}).get("steps") or 0)

    @property
    def best(self) -> str | None:
        """EVALUATOR/METRIC that chose the weights; none: the last ones were kept."""
        return (self.config.get("train") or {}).get("best")

    @property
    def train_data(self) -> Path:
        """What it was trained on."""
        return Path(str((self.config.get("data") or {}).get("train") or ""))

    @property
    def left_out(self) -> set[str]:
        """Labels whose rows it did not train on."""
        return set((self.config.get("data") or {}).get("leave_out_labels") or ())

    @property
    def is_streamed(self) -> bool:
        """Were the data streamed?"""
        return bool((self.config.get("data") or {}).get("streaming"))

    @property
    def evaluators(self) -> dict[str, Any]:
        """Its evaluators, as plain values."""
        return dict(self.config.get("evaluators") or {})

    def kind(self, side: str) -> str:
        """What a side is: text, audio or image."""
        known = MODALITY_OF_KIND.get(str(self._modality(side).get("kind"))) or STANDARD_MODALITIES.get(side)
        return known().kind if known else ""

    def column(self, side: str) -> str:
        """The manifest's column of a side."""
        return str(self._modality(side).get("column") or side)

    def _modality(self, side: str) -> Mapping[str, Any]:
        return ((self.config.get("data") or {}).get("modalities") or {}).get(side) or {}


def evaluator_specs(folder: Path, trust_remote_code: bool = False) -> dict[str, EvaluatorSpec]:
    """The evaluators a run folder names; those of code from outside xmodal only where it is trusted.

    Such as are left out are told in a warning.

    Raises:
        UserError: no run folder; an evaluator's settings that are wrong.
    """
    found: dict[str, EvaluatorSpec] = {}
    for name, given in SavedRun.of(folder).evaluators.items():
        kind = given.get("kind") if isinstance(given, dict) else None
        if not isinstance(kind, str):
            continue
        if not trust_remote_code and not is_own(given):
            log.warning(
                "%s: evaluators.%s: %s is code from outside xmodal, and is left out; if you trust it, give "
                "--trust-remote-code",
                folder / "config.yaml",
                name,
                kind if not EVALUATORS.is_own(kind) else given.get("prompts"),
            )
            continue
        spec = EVALUATORS.spec(kind)
        try:
            found[name] = spec.model_validate(given)  # type: ignore[assignment]
        except ValidationError as error:
            where = f"{folder / 'config.yaml'}: evaluators.{name}"
            raise UserError("\n".join(error_lines(error, given, lambda _, w=where: w, spec))) from None  # type: ignore[misc]
    return found


def is_own(given: Mapping[str, Any]) -> bool:
    """Are an evaluator's class and its templates xmodal's own, or files? Nothing is imported."""
    prompts = str(given.get("prompts") or "")
    named = not Path(prompts).suffix and len(Path(prompts).parts) < 2  # else a file
    shipped = not prompts or not named or prompts in TEMPLATE_SETS.own
    return EVALUATORS.is_own(given["kind"]) and shipped
