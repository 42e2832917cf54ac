"""Code that a config names, `module:attribute`, also of the folder the command is started in; why it cannot be had."""

import importlib
import sys
import traceback
from pathlib import Path
from typing import Any


def imported(place: str) -> Any:
    """What `module:attribute` names; a module may lie in the folder the command is started in."""
    module, _, attribute = place.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        here = str(Path.cwd())
        if error.name != module.partition(".")[0] or here in sys.path:
            raise
        sys.path.append(here)
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as here_too:
            sys.path.remove(here)  # other names must not be found there
            if here_too.name != error.name:  # it lies here, and what it imports is missing
                raise
            raise error from None
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


def why_not(error: BaseException, module: str) -> str:
    """Why a class cannot be imported, and the way out."""
    if isinstance(error, ModuleNotFoundError):
        return f"{error}: install its package, start in the folder where it lies, or correct the name"
    if isinstance(error, AttributeError) and module in sys.modules and getattr(error, "obj", None) is not None:
        there = [name for name, value in vars(sys.modules[module]).items() if isinstance(value, type)]
        own = [name for name in there if sys.modules[module].__dict__[name].__module__ == module]
        return f"it has no such class; there: {', '.join(own) or 'none'}"
    if isinstance(error, SyntaxError):
        return f"{error.filename} line {error.lineno}: {error.msg}: correct it"
    where = traceback.extract_tb(error.__traceback__)[-1]
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    reason = reason if len(reason) <= 200 else f"{reason[:200]} ..."
    return f"its code fails, last at {where.filename} line {where.lineno}: {reason}; --debug shows all"
