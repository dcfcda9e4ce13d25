import gc

import pytest


@pytest.fixture(autouse=True)
def _free_memory(request):
    """A network is a cycle of references, and VGG-16 is half a gigabyte."""
    yield
    if request.node.get_closest_marker("slow"):
        gc.collect()
