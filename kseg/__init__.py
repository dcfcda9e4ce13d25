"""kseg: from labelled images to a segmentation model that runs on a phone or a Coral board.

The public names are listed in the stub beside this file, `__init__.pyi`. Each is imported when it
is first used, so that `import kseg` and `kseg --help` are fast.
"""

import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
