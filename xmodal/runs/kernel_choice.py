"""What a run says of the kernel that was chosen for it (`kernel: {kind: auto}`).

    RUN/auto/asked.json     what the choice is made for: the run's config, and a digest of the dev split
    RUN/auto/KERNEL/        the short run of a candidate, a run folder
    RUN/auto/choice.json    written last: the kernel, why, and every number it was chosen by

The kernel itself stands in RUN/config.yaml.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xmodal.store.form import read_json

FOLDER, ASKED, CHOICE = "auto", "asked.json", "choice.json"


def read_asked(run: Path) -> dict[str, Any] | None:
    """For what the choice of a run is, or was, made; None where none was begun."""
    return read_json(run / FOLDER / ASKED)


def read_choice(run: Path) -> dict[str, Any] | None:
    """The choice of a run: `kernel`, `name`, `reason`, `dev`, `term`, ...; None where none was made."""
    found = read_json(run / FOLDER / CHOICE)
    return found if found is not None and {"kernel", "name", "reason", "dev"} <= found.keys() else None


def choice_notes(run: Path, evaluators: Mapping[str, Any], tests: Mapping[str, Path]) -> list[str]:
    """What a reader of a run's report must know of its kernel.

    Args:
        run: its folder.
        evaluators: of the run, as plain values.
        tests: name -> path of the tests that are reported.
    """
    choice = read_choice(run)
    if choice is None:
        return []
    dev = str(choice["dev"]).partition("/")[0]
    notes = [f"{choice['key']}: {choice['name']}, chosen on {choice['dev']}: {choice['reason']}."]
    judge = os.path.realpath(str((evaluators.get(dev) or {}).get("test", "")))
    return notes + [
        f"{name}: the kernel was chosen on this test, which flatters its numbers."
        for name, path in tests.items()
        if os.path.realpath(path) == judge
    ]
