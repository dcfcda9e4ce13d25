"""Labels images with Apache Beam's RunInference.

python docs/examples/on_beam.py MODEL 'images/*.jpg' labels
"""

import sys
from collections.abc import Iterable, Sequence

import apache_beam as beam
from apache_beam.io import fileio
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, RunInference

import kseg


class KsegHandler(ModelHandler[bytes, kseg.Labelled, kseg.Labeller]):
    """Runs a labeller on the bytes of image files."""

    def __init__(self, model: str):
        """Keeps the labeller, which loads its model in the workers."""
        super().__init__()
        self.labeller = kseg.Labeller(model)

    def load_model(self) -> kseg.Labeller:
        """Returns the labeller with its model loaded; Beam keeps it for the worker."""
        self.labeller.opened()
        return self.labeller

    def run_inference(
        self, batch: Sequence[bytes], model: kseg.Labeller, inference_args=None
    ) -> Iterable[kseg.Labelled]:
        """Labels a batch."""
        return model(list(batch))


def rows(pipeline: beam.Pipeline, model: str, pattern: str):
    """Returns (name, kseg.Labelled) of the images that a pattern matches."""
    return (
        pipeline
        | fileio.MatchFiles(pattern)
        | fileio.ReadMatches()
        | beam.Map(lambda file: (file.metadata.path, file.read()))
        | RunInference(KeyedModelHandler(KsegHandler(model)))
    )


def _line(row) -> str:
    name, found = row
    if found.error:
        return f"{name},,{found.error}"
    return f"{name},{(found.labels == 1).mean():.4f},"


if __name__ == "__main__":
    model, pattern, target = sys.argv[1:]
    with beam.Pipeline() as pipeline:
        shares = rows(pipeline, model, pattern) | beam.Map(_line)
        shares | beam.io.WriteToText(target, ".csv", header="image,share of class 1,error")
