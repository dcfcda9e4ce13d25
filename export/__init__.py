"""From a Keras 3 segmentation model to a verified .tflite file.

The package `kseg` never needs TensorFlow by itself; everything that does is here. The public names
are listed in `__init__.pyi`; each is imported when it is first used, so that reading a file does
not load TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
