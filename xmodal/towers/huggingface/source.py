"""Where a pretrained `transformers` model lives, and its plain files; every foreseeable failure is one line."""

import importlib.util
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xmodal.errors import UserError
from xmodal.towers.kinds.transformers import TransformersTower


@dataclass(frozen=True)
class Source:
    """A model's place: a local folder or a hub name, and a folder inside it."""

    name: str  # as the config says it
    location: str
    revision: str | None = None
    trust_remote_code: bool = False
    subfolder: str = ""

    @property
    def local(self) -> bool:
        """Is it a folder on this machine?"""
        return Path(self.location).is_dir()

    def inside(self, subfolder: str) -> "Source":
        """The same model, read from a folder inside it."""
        return replace(self, subfolder=subfolder)

    def options(self) -> dict[str, Any]:
        """Arguments every `from_pretrained` takes."""
        found: dict[str, Any] = {"trust_remote_code": self.trust_remote_code}
        if not self.local:
            found["revision"] = self.revision
        if self.subfolder:
            found["subfolder"] = self.subfolder
        return found

    def file(self, name: str, must_know: bool = False) -> Path | None:
        """A file of the model, None when it has no such file.

        Raises:
            UserError: `must_know`, and neither the cache nor the hub can say whether there is one.
        """
        name = f"{self.subfolder}/{name}" if self.subfolder else name
        if self.local:
            path = Path(self.location, name)
            return path if path.is_file() else None
        import huggingface_hub
        from transformers.utils.hub import cached_file

        try:
            found = cached_file(
                self.location, name, revision=self.revision, _raise_exceptions_for_missing_entries=False
            )
        except (OSError, ValueError) as error:
            raise self.unreadable(error) from error
        if found is None and must_know:
            known = huggingface_hub.try_to_load_from_cache(self.location, name, revision=self.revision)
            if known is None:  # neither a file nor the note that the hub has none
                raise UserError(
                    f"tower {self.name!r}: the hub cannot be reached to ask for {name}, so the model's own pooling is "
                    "not known; set pooling and max_length, or name a local folder"
                )
        return None if found is None else Path(found)

    def json(self, name: str, must_know: bool = False) -> Any:
        """A JSON file of the model, None when it has no such file.

        Raises:
            UserError: it is damaged (or see `file`).
        """
        path = self.file(name, must_know)
        if path is None:
            return None
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"tower {self.name!r}: {path} is not JSON ({error})") from error

    def unreadable(self, error: Exception, what: str = "model") -> UserError:
        """The one line for a model that cannot be had."""
        reason = " ".join(str(error).split())
        if "trust_remote_code" in reason and not self.trust_remote_code:
            return UserError(
                f"tower {self.name!r}: comes with code of its own ({self.location}), which runs only where it is "
                "trusted: read it, then set trust_remote_code (in a config, or of xmodal.load for a run folder)"
            )
        reason = reason[:300]
        if self.local:
            return UserError(f"tower {self.name!r}: its {what} in {self.location} cannot be read: {reason}")
        return UserError(
            f"tower {self.name!r}: neither a folder here nor a model that the hub's cache or the hub gives ({reason}); "
            "name a local folder, a package as package:NAME/FOLDER, or check the spelling and the connection"
        )


def locate(spec: TransformersTower.Spec) -> Source:
    """Where the model named by a spec is; nothing is downloaded yet.

    Raises:
        UserError: the package is not installed, or the folder does not exist.
    """
    location = str(Path(spec.name).expanduser())
    if spec.name.startswith("package:"):
        location = str(package_folder(spec.name))
    elif not Path(location).is_dir():
        if spec.name.startswith((".", "/", "~")) or spec.name.count("/") > 1:
            raise UserError(f"tower {spec.name!r}: no such folder ({Path(location).absolute()})")
        location = spec.name
    return Source(spec.name, location, spec.revision, spec.trust_remote_code)


def package_folder(name: str) -> Path:
    """`package:NAME/FOLDER` -> the folder inside the installed package.

    Raises:
        UserError: no such package, or no such folder in it.
    """
    package, _, inside = name.removeprefix("package:").partition("/")
    try:
        found = importlib.util.find_spec(package) if package.isidentifier() else None
    except (ImportError, ValueError):
        found = None
    if found is None or not found.submodule_search_locations:
        raise UserError(
            f"tower {name!r}: Python package {package!r} is not installed; check the name, or pip "
            f"install {package.replace('_', '-')}"
        )
    folder = Path(found.submodule_search_locations[0], inside)
    if not folder.is_dir():
        raise UserError(f"tower {name!r}: package {package} has no folder {inside!r} ({folder})")
    return folder
