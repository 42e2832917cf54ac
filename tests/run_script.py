"""Scripts as a user runs them, in a process of their own; or, seconds faster, their `main` in this one."""

import contextlib
import importlib.util
import io
import json
import subprocess
import sys
from pathlib import Path

from xmodal.errors import run_script

ROOT = Path(__file__).parents[1]


def script(name: str, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run it from a folder that is not the repository."""
    command = [sys.executable, str(ROOT / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, timeout=120)


def works(name: str, *arguments: str | Path, cwd: Path) -> list[str]:
    """The lines that its `main` prints, run here from a folder that is not the repository, having worked."""
    printed = io.StringIO()
    with contextlib.chdir(cwd), contextlib.redirect_stdout(printed):
        code = in_process(name, *arguments)
    assert code == 0, printed.getvalue()[-2000:]
    return printed.getvalue().splitlines()


def in_process(name: str, *arguments: str | Path) -> int:
    """The exit code of its `main`, run here; what it prints is for `capsys`."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, ROOT / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        return run_script(module.main, [str(argument) for argument in arguments])
    except SystemExit as end:  # after --help
        return int(end.code or 0)


def rows_of(path: Path) -> list[dict]:
    """The rows of a JSON lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]
