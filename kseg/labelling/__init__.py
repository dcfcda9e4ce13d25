"""Labelling images by the million: one picklable object, and the work of one process of many."""

from kseg.labelling.labeller import Labelled, Labeller

__all__ = ["Labelled", "Labeller"]
