"""How a mistake reaches the person who made it: one line, exit code 2, no traceback unless asked for.

Enters: a script's `main`. Leaves: an exit code. Every foreseeable mistake is raised as `UserError` with a line that
says what, where, found, expected and the way out.
"""

import io
import sys
import traceback
from collections.abc import Callable


class UserError(Exception):
    """A mistake the user can mend. The message is shown as it is; several lines name several mistakes."""


def run_script(main: Callable[[list[str]], None], argv: list[str] | None = None) -> int:
    """Run a script's main over the command line; returns its exit code (0 done, 2 user error, 130 interrupted).

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
    except UserError as error:
        if debug:
            traceback.print_exc()
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)  # noqa: T201
        return 2
    except OSError as error:  # a file where a folder should be, no permission, a full disk
        if debug or error.strerror is None:
            traceback.print_exc()
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}; choose another path, or free it", file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        if debug:
            traceback.print_exc()
        print("interrupted; what was finished is kept", file=sys.stderr)  # noqa: T201
        return 130
    return 0
