"""Labelled images: reading, checking, augmenting and making them."""

from kseg.data.check import DataReport, check_data
from kseg.data.dataset import Data, Pair, Split
from kseg.data.description import load_data
from kseg.data.transforms import Augmentation, fit_inside

__all__ = [
    "Augmentation",
    "Data",
    "DataReport",
    "Pair",
    "Split",
    "check_data",
    "fit_inside",
    "load_data",
]
