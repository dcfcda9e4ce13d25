from .catalogue import BACKBONES as BACKBONES
from .catalogue import Backbone as Backbone
from .endpoints import Endpoints as Endpoints
from .weights import load_imagenet_weights as load_imagenet_weights
