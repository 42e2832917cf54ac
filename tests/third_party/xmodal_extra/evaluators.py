"""An evaluator: how far apart a file's texts lie."""

import hashlib

from xmodal.config.evaluator_spec import EvaluatorSpec
from xmodal.report.report import Record, Report


class Spread:
    """One minus the mean cosine between the lines of a text file."""

    modality = "text"

    class Spec(EvaluatorSpec):
        """`test` is the text file."""

        scale: float = 1.0

        def sides(self):
            """The side under test."""
            return {"text": "text"}

    def __init__(self, spec, kinds):
        self.spec, self.lines = spec, spec.test.read_text().strip().split("\n")
        self.files = ()

    def content(self):
        """A digest of the lines."""
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()

    def metrics(self):
        """What train.best may name."""
        return {"spread"}

    def check(self):
        """Nothing that the constructor has not seen."""

    def evaluate(self, encoder, name, brief=False):
        """One number."""
        z = encoder.encode("text", self.lines)
        value = self.spec.scale * float(1 - (z @ z.T).mean())
        return Report(title=name, records=[Record(name, "spread", value, n=len(z))], provenance={}, notes=[])
