"""Segmentation networks, one file each; `MODELS` is the table of them.

What this package exports is listed in its stub, `__init__.pyi`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
