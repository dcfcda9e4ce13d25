from .ensembles import ensemble as ensemble
from .frame import check_choice as check_choice
from .trained import TRAINED as TRAINED
from .trained import TrainedRecord as TrainedRecord
from .trained import copy_weights as copy_weights
from .zoo import MODELS as MODELS
from .zoo import build as build
