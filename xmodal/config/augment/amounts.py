"""What the specs of all augmentations share."""

from typing import Any, ClassVar

from xmodal.config.spec import Spec


class Augment(Spec):
    """Amounts by name; of each 0 (or nothing) is off."""

    # keys that came after stores of views were first made: where they do nothing, a store's description lacks them
    later: ClassVar[frozenset[str]] = frozenset()

    @property
    def is_active(self) -> bool:
        """Does this change anything?"""
        raise NotImplementedError

    def described(self) -> dict[str, Any]:
        """What decides a view, as JSON, for the description of a store of views."""
        usual = type(self)().model_dump(mode="json")
        found = self.model_dump(mode="json")
        return {name: value for name, value in found.items() if name not in self.later or value != usual[name]}
