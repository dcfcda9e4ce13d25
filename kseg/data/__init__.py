"""Labelled images: reading, checking, augmenting and making them."""

from kseg.data.augmentation import Augmentation
from kseg.data.batches import Split
from kseg.data.checking import DataReport, check_data, check_labels
from kseg.data.dataset import Data
from kseg.data.lists import Pair
from kseg.data.transforms import fit_inside
from kseg.data.yaml_file import load_data

__all__ = [
    "Augmentation",
    "Data",
    "DataReport",
    "Pair",
    "Split",
    "check_data",
    "check_labels",
    "fit_inside",
    "load_data",
]
