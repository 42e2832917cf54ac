"""What whoever pushes a run says of it: licence, languages, data, base models, benchmarks; checked first."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from xmodal.errors import UserError
from xmodal.hub.names import require_repository

_LICENCES = Path(__file__).with_name("licences.txt")  # as the hub calls them
_LANGUAGE = re.compile(r"[a-z]{2,3}|code|multilingual")


@dataclass(frozen=True)
class CardRequest:
    """What stands in a model card and no run knows.

    license: the licence's name on the hub, as `apache-2.0`.
    languages: ISO 639 codes, as `en`.
    datasets: data sets of the hub that it was trained on.
    base_models: side -> OWNER/NAME on the hub, where the run names a folder or a package.
    benchmarks: DATASET/METRIC of the report -> OWNER/DATASET[:TASK], a benchmark of the hub that this number is of.

    Raises:
        UserError: one of them is missing or has another form.

    Example:
        CardRequest("apache-2.0", ("en",), base_models={"text": "sentence-transformers/all-MiniLM-L6-v2"})
    """

    license: str | None
    languages: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    base_models: Mapping[str, str] = field(default_factory=dict)
    benchmarks: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require_licence(self.license)
        for code in self.languages:
            if not _LANGUAGE.fullmatch(code):
                raise UserError(f"language {code!r}: expected an ISO 639 code (en, de, cmn), code or multilingual")
        for repository in (*self.datasets, *self.base_models.values()):
            require_repository(repository)
        for benchmark in self.benchmarks.values():
            require_repository(benchmark.partition(":")[0], benchmark)


def _require_licence(given: str | None) -> None:
    known = [line for line in _LICENCES.read_text(encoding="utf-8").splitlines() if line]
    if not given:
        raise UserError(
            "license: a model card needs one, and a run has none; name it as the hub does: apache-2.0, mit, cc-by-4.0, "
            "cc-by-nc-4.0, ..., or other"
        )
    if given not in known:
        near = get_close_matches(given.lower(), known, n=1)
        hint = f"did you mean {near[0]}?" if near else "expected a name such as apache-2.0, mit, cc-by-4.0, or other"
        raise UserError(f"license {given!r}: the hub knows no such licence; {hint}")
