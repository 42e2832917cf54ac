"""How a mistake reaches the person who made it: one line, exit code 2, no traceback unless asked for.

Every foreseeable mistake is raised as `UserError`, with a line that says what, where, found, expected and the way out.
`run_script` turns a command's `main` into an exit code.
"""

import io
import os
import select
import sys
import traceback
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path


class UserError(Exception):
    """A mistake the user can mend. The message is shown as it is; several lines name several mistakes."""


def no_such_file(path: Path, hint: str | None = None) -> UserError:
    """The error for a file that is not there, which names its nearest neighbour, or else the files of its kind."""
    if hint is None:
        there = {p.stem: p for p in sorted(path.parent.glob(f"*{path.suffix}"))} if path.suffix else {}
        near = get_close_matches(path.stem, there, n=1)  # without the suffix, which makes any two alike
        if near:
            hint = f"did you mean {there[near[0]]}?"
        elif path.suffix:
            hint = f"there: {', '.join(p.name for p in [*there.values()][:20]) or f'no {path.suffix} file'}"
    return UserError(f"{path}: no such file" + (f"; {hint}" if hint else ""))


def run_script(main: Callable[[list[str]], None], argv: list[str] | None = None) -> int:
    """Run a command's main; returns its exit code (0 done, 2 user error, 130 interrupted, 141 nobody reads on).

    `--debug` anywhere on the command line is removed and shows the full traceback.

    Example:
        if __name__ == "__main__":
            sys.exit(run_script(main))
    """
    for stream in (sys.stdout, sys.stderr):  # a terminal that knows ASCII alone shows ? for the rest
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    try:
        main(arguments)
        sys.stdout.flush()  # here, so that a pipe that nobody reads is noticed here
    except UserError as error:
        if debug:
            traceback.print_exc()
        for line in filter(None, str(error).split("\n")):  # of several processes one alone says what is wrong
            print(f"error: {line}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        if not _nobody_reads():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it ends
        return 141
    except OSError as error:  # a file where a folder should be, no permission, a full disk
        if debug or error.strerror is None:
            traceback.print_exc()
        named = error.filename2 or error.filename  # of a file that is moved, where it goes
        where = f"{named}: " if named else ""
        print(f"error: {where}{error.strerror or error}; choose another path, or free it", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if debug:
            traceback.print_exc()
        print("interrupted; what was saved before is kept", file=sys.stderr)
        return 130
    return 0


def _nobody_reads() -> bool:
    """Has the reader of our output gone (`xmodal ... | head`)? Any other pipe that breaks is a defect."""
    output = select.poll()
    output.register(sys.stdout, 0)
    return any(event & select.POLLERR for _, event in output.poll(0))
