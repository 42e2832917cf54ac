"""What the specs of all evaluators share. Imports no torch."""

from pathlib import Path

from xmodal.config.spec import KindSpec, Share


class EvaluatorSpec(KindSpec):
    """A test to score. The spec of an evaluator is nested in its class and derives from this one.

    Example:
        class Brightness:
            class Spec(EvaluatorSpec):
                items: str = "image"

                def sides(self):
                    return {"items": self.items}
    """

    test: Path  # manifest, folder or hub:NAME
    max_bad: Share = 0.01  # items that cannot be used are counted, up to this share; beyond it an error

    def sides(self) -> dict[str, str]:
        """Key of this spec -> the side it names: each must be one of a run's towers. None, unless overridden."""
        return {}
