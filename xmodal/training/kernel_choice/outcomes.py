"""What the short runs of a kernel's choice say of each item of the dev split, side by side."""

from typing import Any

import pandas as pd

from xmodal.errors import UserError
from xmodal.report.report import Report


def outcomes_of(report: Report, dev: str) -> pd.DataFrame:
    """Each item's outcome, by (protocol, item): columns `correct` and `cluster`.

    Raises:
        UserError: the evaluator gives none, or none of the metric named.
    """
    name, _, metric = dev.partition("/")
    rows = report.predictions[report.predictions["dataset"] == name]
    known = list(dict.fromkeys(rows["protocol"]))
    if metric:
        rows = rows[rows["protocol"] == metric]
    if rows.empty:
        raise UserError(
            f"kernel.dev: {dev!r} has no outcome by item to choose by; expected an evaluator with some, or one of "
            f"{', '.join(f'{name}/{each}' for each in known) or 'none'}"
        )
    return rows.set_index(["protocol", "item"])[["correct", "cluster"]].sort_index()


def side_by_side(outcomes: dict[str, pd.DataFrame]) -> tuple[dict[str, Any], Any, list[str]]:
    """Outcomes [n] of each run over the same items, their clusters [n], and the protocols they are of.

    A protocol in which all runs answer every item alike, as an oracle does, tells nothing and is left out while another
    one is there.

    Raises:
        UserError: the runs were not judged on the same items.
    """
    if not outcomes:
        return {}, [], []
    first = next(iter(outcomes.values()))
    for name, frame in outcomes.items():
        if not frame.index.equals(first.index):
            raise UserError(f"kernel: the run with {name} was judged on other items than the first; choose again")
    table = pd.DataFrame({name: frame["correct"].astype(float) for name, frame in outcomes.items()})
    protocols = table.index.get_level_values("protocol")
    telling = table.nunique(axis=1).gt(1).groupby(protocols).transform("any")
    kept = telling if telling.any() else pd.Series(True, index=table.index)
    shown = list(dict.fromkeys(protocols[kept]))
    return {name: table.loc[kept, name].to_numpy() for name in outcomes}, first.loc[kept, "cluster"].to_numpy(), shown
