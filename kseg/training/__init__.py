"""Training, evaluating, and the run folder that holds both."""

from kseg.training.devices import on_devices
from kseg.training.evaluation import evaluate
from kseg.training.fitting import fit
from kseg.training.planning import plan
from kseg.training.recipe import Recipe
from kseg.training.run import Run, load

__all__ = ["Recipe", "Run", "evaluate", "fit", "load", "on_devices", "plan"]
