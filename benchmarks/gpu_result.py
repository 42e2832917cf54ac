"""What gpu.sh found, as one JSON file: CARD, pytest's junit XML, the output of bench_objectives.py -> FOLDER/CARD.json.

    python benchmarks/gpu_result.py "NVIDIA A100-SXM4-80GB" tests.xml objectives.txt benchmarks/results

No CARD is a dry run: `dry_run.json`. A test or a benchmark that failed, or never ended, is written down as that. Exit
code 1 where there is one.
"""

import json
import re
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree


def tests_of(xml: Path) -> dict[str, Any]:
    """How many tests passed, in how many seconds, why how many were skipped, and what the others said."""
    if not xml.is_file():
        return {"failed": {"all": "pytest did not end"}}
    cases = list(ElementTree.parse(xml).getroot().iter("testcase"))
    failed = {
        f"{case.get('classname', '')}.{case.get('name', '')}": (problem.text or problem.get("message", "")).strip()[
            -2000:
        ]
        for case in cases
        for problem in (*case.findall("failure"), *case.findall("error"))
    }
    skipped = Counter(reason.get("message", "") for case in cases for reason in case.findall("skipped"))
    seconds = round(sum(float(case.get("time", 0)) for case in cases), 1)
    passed = len(cases) - skipped.total() - len(failed)
    return {"passed": passed, "skipped": dict(skipped), "seconds": seconds, "failed": failed}


def objectives_of(output: Path) -> dict[str, Any]:
    """The benchmark's result: its last line, where that is one."""
    lines = output.read_text().splitlines() if output.is_file() else []
    try:
        found = json.loads(lines[-1])
    except (IndexError, ValueError):
        return {"failed": "\n".join(lines)[-2000:]}
    return found if isinstance(found, dict) else {"failed": lines[-1]}


def main(card: str, xml: str, output: str, folder: str) -> int:
    """Write the file; the exit code."""
    tests, objectives = tests_of(Path(xml)), objectives_of(Path(output))
    result = {"date": datetime.now(UTC).date().isoformat(), "card": card, "tests": tests, "objectives": objectives}
    name = re.sub(r"\W+", "_", card).strip("_").lower() or "dry_run"
    path = Path(folder) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    skipped = sum(tests.get("skipped", {}).values())
    print(f"{path}: tests: {tests.get('passed', 0)} passed, {skipped} skipped, {len(tests['failed'])} failed")
    return 1 if tests["failed"] or "failed" in objectives else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
