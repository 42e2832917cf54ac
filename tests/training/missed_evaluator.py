"""An evaluator by which a run is right where it fails: an item counts if its own text is not the nearest one."""

import pandas as pd

from xmodal.config.evaluator_spec import EvaluatorSpec
from xmodal.encoding.embedding_cache import digest_of
from xmodal.evaluation.test_sets.labelled import read_labelled
from xmodal.report import Record, Report


class Missed:
    class Spec(EvaluatorSpec):
        def sides(self):
            return {"items": "speech", "text": "text"}

    def __init__(self, spec, kinds):
        self.spec, self.modality = spec, "speech"
        self.test = read_labelled(spec.test, "speech", kinds=kinds, further=["text"])
        self.texts, self.files = self.test.further["text"].tolist(), self.test.files

    def content(self):
        return digest_of(self.test.sources, self.texts)

    def metrics(self):
        return {"missed"}

    def check(self):
        pass

    def evaluate(self, encoder, name, brief=False):
        z, rows, _ = encoder.encode_readable("speech", self.test.sources)
        distinct = sorted(set(self.texts))
        nearest = (z @ encoder.encode("text", distinct).T).argmax(1).tolist()
        missed = [distinct[at] != self.texts[row] for at, row in zip(nearest, rows, strict=True)]
        table = pd.DataFrame({"item": [f"i{row}" for row in rows], "correct": missed})
        table = table.assign(cluster=table["item"], dataset=name, protocol="missed", true="", predicted="", score=0.0)
        constant = table.assign(protocol="constant", correct=True)
        records = [Record(name, "missed", sum(missed) / len(missed), None, None, n=len(missed))]
        return Report(records, predictions=pd.concat([table, constant]))
