"""Kinds by name: `"cwcl": "xmodal.objectives.softmax.cwcl:CWCL"`, imported only when a config names one.

There are three ways to a class: a name of xmodal's own (`kinds.py`), a name that an installed package adds through an
entry-point group (`[project.entry-points."xmodal.objectives"]`), and the class itself, `package.module:Class`.

A registry is also the type of a config's field: `Annotated[KindSpec, OBJECTIVES]` reads a mapping by its `kind`.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, PydanticCustomError, PydanticKnownError, core_schema

from xmodal.config.imported import imported, why_not
from xmodal.config.spec import KindSpec
from xmodal.errors import UserError

_NAMES: dict[str, str] = {}  # module:Class -> the first name it is registered under, of all registries


def name_of(spec: type[KindSpec]) -> str:
    """The name a spec's class is registered under, else `module:Class`, which every registry takes too."""
    place = f"{spec.__module__}:{spec.__qualname__.removesuffix('.Spec')}"
    return _NAMES.get(place, place)


class Registry:
    """The kinds of one sort of thing.

    Args:
        what: what they are called in errors (objective, kernel, ...).
        own: name -> `module:attribute`, xmodal's own.
        group: the entry-point group through which other packages add theirs.
        base: `module:Class` that every one derives from.

    Example:
        OBJECTIVES = Registry("objective", {"cwcl": "xmodal.objectives.softmax.cwcl:CWCL"}, "xmodal.objectives")
        OBJECTIVES.find("cwcl")                       # the class
        OBJECTIVES.find("my_package.losses:MyLoss")   # someone else's
    """

    def __init__(self, what: str, own: Mapping[str, str], group: str, base: str | None = None) -> None:
        self.what, self.own, self.group, self.base = what, dict(own), group, base
        for name, place in own.items():
            _NAMES.setdefault(place, name)

    @cached_property
    def _added(self) -> dict[str, list[EntryPoint]]:
        found: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=self.group):
            found.setdefault(point.name, []).append(point)
        return found

    @property
    def names(self) -> list[str]:
        """xmodal's own names, then those of other packages."""
        return [*self.own, *(name for name in self._added if name not in self.own)]

    def is_own(self, kind: str) -> bool:
        """Is this kind's code part of xmodal?"""
        return self.place(kind).partition(":")[0].partition(".")[0] == "xmodal"

    def place(self, kind: str) -> str:
        """`module:attribute` of a kind; nothing is imported.

        Raises:
            UserError: no such kind, or one that several packages add.
        """
        points = self._added.get(kind, [])
        if len(points) + (kind in self.own) > 1:
            makers = ["xmodal itself"] * (kind in self.own) + [p.value for p in points]
            raise UserError(
                f"{self.what} {kind!r} is given by {' and '.join(makers)}; name the one that is meant as "
                f"kind: {points[0].value}, or uninstall the other"
            )
        if kind in self.own:
            return self.own[kind]
        if points:
            return points[0].value
        module, colon, attribute = kind.partition(":")
        if colon and all(part.isidentifier() for part in [*module.split("."), *attribute.split(".")]):
            return kind
        near = get_close_matches(kind, self.names, n=1)
        raise UserError(
            f"{kind!r} is not one of {', '.join(self.names)}"
            + (f"; did you mean {near[0]}?" if near else "")
            + (
                ""
                if near
                else f"; or name a class, as kind: my_package.my_module:My{self.what.title().replace(' ', '')}"
            )
        )

    def find(self, kind: str) -> Any:
        """The class (or function, or data) of a kind.

        Raises:
            UserError: no such kind, or its code cannot be imported.
        """
        place = self.place(kind)
        module = place.partition(":")[0]
        try:
            return imported(place)
        except (Exception, SystemExit) as error:  # a foreign module may fail in any way
            if place in self.own.values() and not isinstance(error, ImportError):
                raise
            raise UserError(f"{kind!r}: {place} cannot be imported ({why_not(error, module)})") from error

    def spec(self, kind: str) -> type[KindSpec]:
        """The spec of a kind: the class nested in it, or the class itself where it is nothing but settings.

        Raises:
            UserError: as `find`; or a class without a spec.
        """
        found = self.find(kind)
        if self.base is not None:
            base = imported(self.base)
            if not (isinstance(found, type) and issubclass(found, base)):
                raise UserError(
                    f"{kind!r}: {self.place(kind)} is no {self.what}: it does not derive from {base.__module__}."
                    f"{base.__qualname__}; name another class"
                )
        spec = found if isinstance(found, type) and issubclass(found, KindSpec) else getattr(found, "Spec", None)
        if not (isinstance(spec, type) and issubclass(spec, KindSpec)):
            raise UserError(
                f"{kind!r}: {self.place(kind)} has no Spec, so its settings are not known; nest `class Spec` in it, "
                f"derived from that of its base class (see CONTRIBUTING.md)"
            )
        return spec

    def build(self, spec: KindSpec, *arguments: Any, **options: Any) -> Any:
        """An object of the class that `spec` configures: `Class(spec, ...)`."""
        made = self.find(spec.kind)
        try:
            return made(spec, *arguments, **options)
        except UserError:
            raise
        except Exception as error:  # foreign code may fail in any way
            if self.is_own(spec.kind):
                raise
            reason = why_not(error, self.place(spec.kind).partition(":")[0])
            raise UserError(f"{self.what} {spec.kind!r}: cannot be made: {reason}") from error

    # ------------------------------------------------------------------------------------- as the type of a field

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._read,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda spec, info: spec.model_dump(mode=info.mode), info_arg=True
            ),
        )

    def _read(self, value: Any) -> KindSpec:
        if isinstance(value, KindSpec):
            value = value.model_dump() if not isinstance(value, self.spec(value.kind)) else value
        if isinstance(value, KindSpec):
            return value
        if not isinstance(value, Mapping):
            raise PydanticKnownError("dict_type")
        if "kind" not in value:
            raise PydanticKnownError("union_tag_not_found", {"discriminator": "'kind'"})
        if not isinstance(value["kind"], str):
            message = f"{value['kind']!r} is not one of {', '.join(self.names)}"
            raise PydanticCustomError("unknown_kind", "{message}", {"message": message})
        try:
            spec = self.spec(value["kind"])
        except UserError as error:
            raise PydanticCustomError("unknown_kind", "{message}", {"message": str(error)}) from None
        return spec.model_validate(dict(value))  # its mistakes become those of the whole config

    def type_of(self, raw: Any) -> Any:
        """The spec by which `raw` was read, for error lines; None where there is none."""
        try:
            return self.spec(raw["kind"])
        except (UserError, TypeError, KeyError):
            return None


def are_named(value: Any) -> bool:
    """Is this a mapping of names to specs, and not one spec?"""
    if not isinstance(value, Mapping) or isinstance(value.get("kind"), str):
        return False
    return any(isinstance(each, Mapping | KindSpec) for each in value.values())


class OneOrNamed:
    """One spec, or a mapping of names to specs: `{kind: cwcl}`, or `{align: {kind: cwcl}, self: {kind: nt_xent}}`."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.one = Annotated[KindSpec, registry]
        self._named = TypeAdapter(dict[str, self.one])  # type: ignore[name-defined]
        self._one: TypeAdapter[KindSpec] = TypeAdapter(self.one)  # type: ignore[arg-type]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._read,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda value, info: (self._one if isinstance(value, KindSpec) else self._named).dump_python(
                    value, mode=info.mode
                ),
                info_arg=True,
            ),
        )

    def _read(self, value: Any) -> Any:
        return self._named.validate_python(value) if self._is_named(value) else self._one.validate_python(value)

    def _is_named(self, value: Any) -> bool:
        """Terms by name: also where one is a bare kind (`{align: cwcl}`), so that the error names the term."""
        bare = isinstance(value, Mapping) and any(kind in self.registry.names for kind in map(str, value.values()))
        return are_named(value) or (bare and not isinstance(value.get("kind"), str))

    def type_of(self, raw: Any) -> Any:
        """The type by which `raw` was read, for error lines."""
        return dict[str, self.one] if self._is_named(raw) else self.one  # type: ignore[name-defined]
