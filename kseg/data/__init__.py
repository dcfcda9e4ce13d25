"""Labelled images: reading, checking, augmenting and making them."""

from kseg.data.checking import DataReport, check_data
from kseg.data.dataset import Data, Pair, Split
from kseg.data.transforms import Augmentation, fit_inside
from kseg.data.yaml_file import load_data

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
