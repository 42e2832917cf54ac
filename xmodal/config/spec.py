"""What every part of a config shares: frozen, no unknown keys, a `kind`; and the ranges numbers may have.

A spec is nested in the class it configures (`class CWCL: class Spec(Objective.Spec)`), so that names, defaults and
ranges stand once. A class that is nothing but its settings, such as a kernel, is its own spec.
"""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from xmodal.errors import UserError

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class Spec(BaseModel):
    """Base of all specs: frozen, no unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=(), validate_by_name=True,
        serialize_by_alias=True,
    )  # fmt: skip


class KindSpec(Spec):
    """A spec told apart by `kind`: a name in a registry (see `registry.py`), or a class as `package.module:Class`.

    Made in Python without a kind, it takes the name under which its class is registered.
    """

    kind: str = ""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, values: Any) -> Any:
        from xmodal.config.registry import name_of  # late: registries are made of specs

        return {"kind": name_of(cls), **values} if isinstance(values, dict) else values

    @classmethod
    def given(cls, spec: Any, settings: dict[str, Any]) -> Self:
        """`spec` where a config gave one, else the spec of a constructor's keyword arguments.

        Raises:
            UserError: a setting that the spec does not know, or out of its range.

        Example:
            self.spec = self.Spec.given(spec, settings)  # in the constructor of the class that is configured
        """
        if spec is not None and not settings and isinstance(spec, cls):
            return spec
        if spec is not None:
            raise UserError(f"{name_of_class(cls)}: expected a {cls.__qualname__}, or its settings by name")
        try:
            return cls(**settings)
        except ValidationError as error:
            from xmodal.config.error_lines import error_lines

            lines = error_lines(error, settings, lambda keys: name_of_class(cls), cls)
            raise UserError("\n".join(lines)) from None


def name_of_class(cls: type) -> str:
    """`CWCL` of `CWCL.Spec`."""
    return cls.__qualname__.removesuffix(".Spec")


class Configured:
    """Base of classes with a spec nested in them; one without settings of its own gets a spec under its own name."""

    Spec: type[KindSpec]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "Spec" not in vars(cls) and hasattr(cls, "Spec"):
            place = {"__module__": cls.__module__, "__qualname__": f"{cls.__qualname__}.Spec", "__doc__": cls.__doc__}
            cls.Spec = type("Spec", (cls.Spec,), place)
