"""Training, evaluating, and the run folder that holds both."""

from kseg.training.evaluate import evaluate
from kseg.training.fit import fit
from kseg.training.recipe import Recipe
from kseg.training.run import Run, load

__all__ = ["Recipe", "Run", "evaluate", "fit", "load"]
